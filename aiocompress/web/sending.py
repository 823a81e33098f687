"""Sending a body to a client who may leave before its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any

from starlette.types import Receive, Send


async def behind(first: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield bytes that were read already, then the rest."""
    if first:
        yield first
    async for data in rest:
        yield data


async def send_body(blocks: AsyncIterator[bytes], send: Send) -> None:
    """Send all blocks, each once the client has accepted most of the earlier ones."""
    async for data in blocks:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; if the client leaves, cancel it, and return False once it has ended.

    A server reports that only to a caller of ``receive``. Work that waits for a slow client or for
    its own source would learn of it late.

    :param receive: the request's, whose body was read, or is of no interest.
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
