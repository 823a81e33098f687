"""Follow a compressed log that another process is still writing, as ``tail -f`` does.

Usage: tail_compressed_log.py [LOG.zst]

Whoever writes the log flushes it, which ends a frame; up to there everybody can read it. Without a
path this starts a process that writes a log, and follows that until the process has ended.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator

import aiocompress

PAUSE = 0.05
"""Seconds between two looks at a log that has nothing new."""
LINES = 40


async def follow(path: str, writing: "asyncio.Task[int] | None" = None) -> AsyncIterator[str]:
    """Yield each line once all of it is there.

    :param writing: ends when nobody writes any more; without it, there is no end.
    """
    async with aiocompress.open(path, "rt", encoding="utf-8") as log:
        begun, is_over = "", False
        while not is_over:
            is_over = writing is not None and writing.done()  # before the last look
            try:
                async for part in log:
                    begun += part
                    if begun.endswith("\n"):
                        yield begun
                        begun = ""
            except aiocompress.TruncatedError:  # not even the first frame is there
                if is_over:
                    raise
            await asyncio.sleep(PAUSE)


async def write(path: str) -> None:
    """Write a log, as a service would: what was logged can be read at once."""
    async with aiocompress.open(path, "wt", encoding="utf-8") as log:
        for number in range(LINES):
            await log.write(f"line {number} of a log that ")
            await log.flush()
            await asyncio.sleep(0.02)
            await log.write("is written now\n")
            await log.flush()


async def print_all(lines: AsyncIterator[str]) -> None:
    """Print lines as they come."""
    async for line in lines:
        print(line, end="", flush=True)


async def demonstrate(path: str) -> None:
    """Follow a log that a process of our own writes."""
    service = await asyncio.create_subprocess_exec(sys.executable, __file__, "--write", path)
    await print_all(follow(path, asyncio.ensure_future(service.wait())))


def main() -> None:
    """Follow the log that was given, or one of our own."""
    if sys.argv[1:2] == ["--write"]:
        asyncio.run(write(sys.argv[2]))
    elif len(sys.argv) > 1:
        asyncio.run(print_all(follow(sys.argv[1])))
    else:
        with tempfile.NamedTemporaryFile(suffix=".log.zst") as log:
            asyncio.run(demonstrate(log.name))


if __name__ == "__main__":
    main()
