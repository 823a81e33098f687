"""A real S3 server on loopback, moto's, and a proxy before it that counts calls and fails."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import aiohttp
import boto3
import pytest
from aiohttp import web
from moto.server import ThreadedMotoServer

from .web import Fault, Server

BUCKET = "bucket"


class Storage:
    """The bucket of a test, and what is in it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket=BUCKET)

    def options(self) -> dict[str, Any]:
        """The options of s3fs that reach it."""
        return {"endpoint_url": self.endpoint, "key": "key", "secret": "secret"}

    def use(self, monkeypatch: pytest.MonkeyPatch, endpoint: str | None = None) -> None:
        """Have every ``s3://`` URL be in it, for this test."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint or self.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return data

    def keys(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [item["Key"] for item in found]

    def uploads(self) -> list[str]:
        """The uploads that are neither completed nor aborted."""
        found = self._client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return [item["Key"] for item in found]

    def clear(self) -> None:
        for key in self.keys():
            self._client.delete_object(Bucket=BUCKET, Key=key)
        for item in self._client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            self._client.abort_multipart_upload(
                Bucket=BUCKET, Key=item["Key"], UploadId=item["UploadId"]
            )

    def close(self) -> None:
        self._client.close()


@contextmanager
def serving() -> Iterator[Storage]:
    """Run the server, with an empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        storage = Storage("http://{}:{}".format(*server.get_host_and_port()))
        yield storage
        storage.close()
    finally:
        server.stop()


def call_of(request: web.Request) -> str:
    """Return the name of a call of S3."""
    query = request.query
    if "uploads" in query:
        return "create"
    if "partNumber" in query:
        return "part"
    if "uploadId" in query:
        return {"POST": "complete", "DELETE": "abort"}[request.method]
    return request.method.lower()


class Proxy(Server):
    """Stands before the server; a fault is taken for the next call of that name."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._storage = storage
        self.faults: list[tuple[str, Fault]] = []
        self.calls: Counter[str] = Counter()
        self.stalled = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self._session.close()

    def take_fault(self, request: web.Request) -> Fault | None:
        call = call_of(request)
        self.calls[call] += 1
        return self.faults.pop(0)[1] if self.faults and self.faults[0][0] == call else None

    async def answer(self, request: web.Request) -> web.Response:
        """Have the server answer."""
        url = self._storage.endpoint + request.raw_path
        body = io.BytesIO(await request.read())
        headers = {k: v for k, v in request.headers.items() if k.lower() not in {"host", "expect"}}
        async with self._session.request(
            request.method, aiohttp.client.URL(url, encoded=True), data=body, headers=headers
        ) as answer:
            about = {
                key: value
                for key, value in answer.headers.items()
                if key.lower() not in {"transfer-encoding", "connection", "server", "date"}
            }
            if request.method == "HEAD":
                return web.Response(status=answer.status, headers=about)
            about.pop("Content-Length", None)
            return web.Response(status=answer.status, headers=about, body=await answer.read())

    def status(self, status: int, code: str = "") -> Fault:
        """Answer as S3 does when it refuses."""

        async def answer(_: web.Request) -> web.StreamResponse:
            text = f"<Error><Code>{code}</Code><Message>hunter2</Message></Error>"
            return web.Response(status=status, text=text, content_type="application/xml")

        return answer

    async def stall(self, _: web.Request) -> web.StreamResponse:
        """Never answer."""
        self.stalled.set()
        await asyncio.Event().wait()
        raise AssertionError
