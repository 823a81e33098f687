"""A body on its way to a client, who may leave before its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any

from starlette.types import Receive, Send


async def behind(first: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield what was read already, and then the rest."""
    if first:
        yield first
    async for data in rest:
        yield data


async def send_body(blocks: AsyncIterator[bytes], send: Send) -> None:
    """Send all blocks, each when the client has taken most of those before it."""
    async for data in blocks:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; if the client leaves, cancel it, and return False when it has ended.

    A server tells of that only to those who ask. ``send`` alone, which waits for a slow client, or
    a stream that waits for its source, would learn of it late.

    :param receive: of a request whose body has been read, or has none.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        is_connected = working.done()
    finally:
        watching.cancel()
        if not working.done():
            working.cancel()
        await asyncio.wait((working, watching))
    if is_connected or not working.cancelled():
        working.result()
    return is_connected


async def _left(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
