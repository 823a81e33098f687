"""Upload files by aiohttp, compressed on their way; the server puts all of them into one archive.

Usage: aiohttp_upload_compressed.py [URL FILE...]

The client reads, compresses and sends at the same time, and the server decompresses what comes in
straight into the archive: neither ever holds a file, and a slow network slows both sides down.
A client that goes away in the middle costs its own file only. Without arguments this starts such a
server, and uploads itself and its neighbours to it.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import aiohttp
from aiohttp import web

import aiocompress

LARGEST = "1GiB"


class Uploads:
    """Takes files by ``PUT /NAME``, compressed or not, into an archive."""

    def __init__(self, engine: aiocompress.Engine, writer: aiocompress.ArchiveWriter) -> None:
        self.engine, self.writer = engine, writer
        self.app = web.Application()
        self.app.router.add_put("/{name:.+}", self.take)

    async def take(self, request: web.Request) -> web.Response:
        """Add a file; its whole content arrives before any of it is in the archive."""
        content = self.engine.decompress_stream(request.content, max_output=LARGEST)
        try:
            async with content:
                member = await self.writer.add(request.match_info["name"], content)
        except aiocompress.AiocompressError as error:  # a name, or a body, that is refused
            return web.Response(status=400, text=error.reason)
        except ValueError as error:
            return web.Response(status=409, text=str(error))
        return web.json_response({"name": member.name, "size": member.size}, status=201)


async def upload(
    session: aiohttp.ClientSession, engine: aiocompress.Engine, url: str, path: Path
) -> str:
    """Send a file; returns the answer."""
    async with engine.compress_stream(path) as body:  # a missing file is an error here
        kind = {"Content-Type": "application/zstd"}
        async with session.put(f"{url}/{path.name}", data=body, headers=kind) as answer:
            return f"{answer.status} {await answer.text()}"


async def upload_all(engine: aiocompress.Engine, url: str, paths: list[Path]) -> None:
    """Send files, several at once."""
    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*(upload(session, engine, url, path) for path in paths))
    for path, answer in zip(paths, answers, strict=True):
        print(f"{path.name}: {answer}")


async def main(url: str | None, paths: list[Path]) -> None:
    """Upload to the server that was given, or to one of our own."""
    async with aiocompress.Engine() as engine:
        if url is not None:
            await upload_all(engine, url, paths)
            return
        with tempfile.TemporaryDirectory() as folder:
            archive = f"{folder}/uploads.tar.zst"
            async with engine.create_archive(archive) as writer:
                runner = web.AppRunner(Uploads(engine, writer).app)
                await runner.setup()
                try:
                    await web.TCPSite(runner, "127.0.0.1", 0).start()
                    port = runner.addresses[0][1]
                    await upload_all(engine, f"http://127.0.0.1:{port}", paths)
                finally:
                    await runner.cleanup()
            print(await engine.test(archive))


if __name__ == "__main__":
    given = sys.argv[1:]
    files = [Path(name) for name in given[1:]] or sorted(Path(__file__).parent.glob("*.py"))
    asyncio.run(main(given[0] if given else None, files))
