"""Downloads by FastAPI: a folder packed while it is sent, one member of an archive, and pages.

Run it with a folder (and a port, if not 8000), and it serves that at http://127.0.0.1:8000/ until
Ctrl-C; without one it makes a small folder, asks itself for everything once, and ends.
"""

import asyncio
import io
import os
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI

import aiocompress
from aiocompress.web import FileResponse, FolderResponse, MemberResponse, app


def make_application(folder: str) -> FastAPI:
    """Make an application; one engine serves all of its downloads."""
    engine = aiocompress.Engine()
    pages = app(folder, engine=engine)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine, pages.router.lifespan_context(pages):
            yield

    api = FastAPI(lifespan=lifespan)

    @api.get("/download", response_class=FolderResponse)
    async def download() -> FolderResponse:
        """Send the folder as a .tar.zst; the first bytes leave while the rest is not yet read."""
        return FolderResponse(folder, engine=engine)

    @api.get("/member", response_class=MemberResponse)
    async def member(name: str) -> MemberResponse:
        """Send one member of an archive, without unpacking the others; ranges work."""
        return MemberResponse(os.path.join(folder, "docs.tar.zst"), name, engine=engine)

    @api.get("/log", response_class=FileResponse)
    async def log() -> FileResponse:
        """Send what a .zst file holds; a client that knows zstd gets it as it is stored."""
        path = os.path.join(folder, "server.log.zst")
        return FileResponse(path, engine=engine, content_disposition_type="inline")

    api.mount("/files", pages)
    return api


async def make_folder(folder: str) -> None:
    """Make something to download."""
    docs = os.path.join(folder, "docs")
    await asyncio.to_thread(os.mkdir, docs)
    async with aiocompress.Engine(executor="thread") as engine:
        async with engine.create_archive(os.path.join(folder, "docs.tar.zst")) as archive:
            await archive.add("guide.txt", b"Read me first.\n" * 1000)
        async with engine.open(os.path.join(folder, "server.log.zst"), "wb") as log:
            await log.write(b"all is well\n" * 1000)


async def ask_for_everything(folder: str) -> None:
    """Be the client, too, without a network between."""
    api = make_application(folder)
    transport = httpx.ASGITransport(api)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        answer = await client.get("/download")
        packed = await aiocompress.decompress(answer.content)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            print("folder:", answer.headers["content-disposition"], archive.getnames())
        answer = await client.get("/member?name=guide.txt", headers={"range": "bytes=0-12"})
        print("member:", answer.status_code, answer.headers["content-range"], answer.text)
        answer = await client.get("/log")
        print("log:", answer.headers.get("content-encoding", "decoded"), answer.text[:11])
        answer = await client.get("/files/docs.tar.zst/")
        print("page:", answer.status_code, "guide.txt" in answer.text)
        answer = await client.get("/member?name=missing")
        print("missing:", answer.status_code, answer.json())


def main() -> None:
    """Serve a folder, or show all of it once."""
    if len(sys.argv) > 1:
        port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000
        uvicorn.run(make_application(sys.argv[1]), port=port)
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make_folder(folder))
        asyncio.run(ask_for_everything(folder))


if __name__ == "__main__":
    main()
