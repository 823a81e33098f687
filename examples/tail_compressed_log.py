"""Follow a compressed log while somebody writes it, as ``tail -f`` does with a plain one.

Each flush of the writer ends a frame, which readers find at once. Without a path, the program
writes a log of its own, and follows that.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiocompress


async def follow(path: str, pause: float = 0.05) -> AsyncIterator[str]:
    """Yield the lines of a log, and then those that are still to come."""
    async with aiocompress.open(path, "rt", encoding="utf-8") as log:
        begun = ""
        while True:
            # Nothing was flushed yet, or a frame is just being written.
            with suppress(aiocompress.TruncatedError):
                begun += await log.readline()
            if begun.endswith("\n"):
                yield begun
                begun = ""
            else:
                await asyncio.sleep(pause)


async def write(path: str) -> None:
    """Write a line now and then, so that whoever follows sees it."""
    async with aiocompress.open(path, "wt", encoding="utf-8") as log:
        for number in range(10):
            await log.write(f"event {number}\n")
            await log.flush()
            await asyncio.sleep(0.02)
        await log.write("the end\n")


async def main(path: str) -> None:
    """Follow a log of our own to its end."""
    writing = asyncio.create_task(write(path))
    async for line in follow(path):
        print(line, end="")
        if line == "the end\n":
            break
    await writing


async def show(path: str) -> None:
    """Follow the log that is named, for ever."""
    async for line in follow(path):
        print(line, end="", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(show(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "app.log.zst"
            log.touch()
            asyncio.run(main(str(log)))
