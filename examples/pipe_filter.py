"""A filter from stdin to stdout: pipe_filter.py < data > data.zst, pipe_filter.py -d < data.zst.

The same as `aiocompress compress` in a pipe, in a few lines: for programs that need a step of
their own between reading and writing.
"""

import asyncio
import os
import sys

import aiocompress


async def main() -> None:
    """Compress, or with -d decompress, one pipe into another."""
    convert = aiocompress.decompress_stream if "-d" in sys.argv else aiocompress.compress_stream
    async with convert("/dev/stdin") as stream:
        async for data in stream:
            await asyncio.to_thread(write_all, data)


def write_all(data: bytes) -> None:
    """Write to stdout; a pipe may take a part at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    asyncio.run(main())
