"""Read one member of an archive behind a URL, and list it, without downloading the rest.

Usage: read_remote_archive.py URL [MEMBER]

The URL is that of any web server (https://...) or object store (s3://bucket/key, gs://...). An
archive of ours tells its index with the last 256 KiB; each member is one request more. The extra is
needed: pip install 'aiocompress[remote]'
"""

import asyncio
import sys

import aiocompress


async def read(url: str, name: str | None) -> None:
    """List the archive, then print what one of its files holds."""
    async with aiocompress.open_archive(url) as archive:
        async with archive.members() as members:
            async for member in members:
                print(f"{member.size:>12} {member.name}")
                if name is None and member.kind == "file":
                    name = member.name
        if name is not None:
            content = await archive.read(name)
            print(f"{name} has {len(content)} bytes and begins with {content[:40]!r}")


async def main(url: str, name: str | None = None) -> int:
    """Return the exit code."""
    try:
        await read(url, name)
    except (OSError, aiocompress.AiocompressError) as error:
        print(error, file=sys.stderr)  # tells the URL, but no password and no signed query
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:3])))
