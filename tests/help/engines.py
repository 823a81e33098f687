"""What is waited for before an engine is looked at."""

from __future__ import annotations

import asyncio

from aiocompress import Engine


async def given_back(engine: Engine) -> None:
    """Wait until an engine has all slots back: what was interrupted ends soon, and not at once."""
    async with asyncio.timeout(20):
        while engine.statistics().slots_in_use:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
