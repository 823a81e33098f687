"""The three responses: whole, in ranges, unchanged, encoded, in every kind of application."""

from __future__ import annotations

import gzip
import io
import os
import socket
import tarfile
from asyncio import Event
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from aiocompress import CorruptError, Engine, LimitError, TruncatedError, open_archive, sync
from aiocompress.api import plain
from aiocompress.verbs.single import coding_of
from aiocompress.web import FileResponse, FolderResponse, MemberResponse
from aiocompress.web.headers import (
    UnsatisfiableError,
    Validators,
    accepts,
    disposition,
    wanted_range,
)

from ..help.data import noise
from ..help.tools import module
from .sample import LOG, SECRET, asking, engine_of_threads

CODECS: Any = ["zstd", "gzip"]


async def got(response: Any, method: str = "GET", **headers: str) -> httpx.Response:
    """What a client gets of a response, which is an application of its own."""
    async with asking(response) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer: httpx.Response = await client.request(method, "/", headers=named)
        return answer


def unpacked(data: bytes) -> dict[str, tarfile.TarInfo]:
    if data.startswith(b"\x28\xb5"):
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return {member.name: member for member in archive}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


# Folders.


@pytest.mark.parametrize("codec", CODECS)
async def test_a_folder(codec: Any, root: Path) -> None:
    """It comes as an archive that any tar reads, in a folder of its own, saved under its name."""
    async with engine_of_threads() as engine:
        answer = await got(FolderResponse(root / "docs", engine=engine, codec=codec))
    suffix = {"zstd": "zst", "gzip": "gz"}[codec]
    assert answer.headers["content-disposition"] == f'attachment; filename="docs.tar.{suffix}"'
    assert answer.headers["content-type"] == f"application/{codec}"
    assert {"docs/notes.txt", "docs/deep/down.txt", "docs/inner"} <= unpacked(answer.content).keys()


async def test_a_folder_in_words_of_the_caller(root: Path) -> None:
    """Prefix, exclusions, name and headers are the caller's."""
    response = FolderResponse(
        root / "docs", prefix="", exclude=["deep"], filename="x.tzst", headers={"x-mine": "1"}
    )
    answer = await got(response)
    assert answer.headers["x-mine"] == "1"
    assert 'filename="x.tzst"' in answer.headers["content-disposition"]
    names = unpacked(answer.content).keys()
    assert "notes.txt" in names
    assert "deep" not in names


async def test_only_asked_for(root: Path) -> None:
    """HEAD tells the same, and sends nothing; other methods are not allowed."""
    async with engine_of_threads() as engine:
        answer = await got(FolderResponse(root / "docs", engine=engine), "HEAD")
        assert (answer.status_code, answer.content) == (200, b"")
        answer = await got(FileResponse(root / "data.bin", engine=engine), "HEAD")
        assert answer.headers["content-length"] == str(300 << 10)
        answer = await got(FileResponse(root / "data.bin", engine=engine), "POST")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("name", ["missing", "out/missing", "docs/notes.txt"])
async def test_no_folder(name: str, root: Path) -> None:
    """What is none is not found, before any header is sent, and without a path in the answer."""
    answer = await got(FolderResponse(root / name))
    assert (answer.status_code, answer.text) == (404, "Not Found")


# Files.


@pytest.mark.parametrize(("name", "coding"), [("log.zst", "zstd"), ("log.gz", "gzip")])
async def test_a_file_of_one_frame(name: str, coding: str, root: Path) -> None:
    """Who accepts its coding gets it as it is; others get it decoded, under another tag."""
    response = FileResponse(root / name, filename="x.log")
    encoded = await got(response, accept_encoding=f"br, {coding};q=0.5")
    assert encoded.headers["content-encoding"] == coding
    assert encoded.headers["content-length"] == str((root / name).stat().st_size)
    plain = await got(FileResponse(root / name, filename="x.log"), accept_encoding=f"{coding};q=0")
    assert plain.content == LOG
    assert encoded.content == LOG
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == encoded.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != encoded.headers["etag"]


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
async def test_a_file_of_several_frames(coding: str, root: Path, tmp_path: Path) -> None:
    """Clients would stop after the first one: it is never sent as it is."""
    if coding == "gzip":
        path = tmp_path / "big.gz"
        path.write_bytes(gzip.compress(LOG) + gzip.compress(LOG))
    else:
        path = root / "big.zst"
    answer = await got(FileResponse(path), accept_encoding=coding)
    assert "content-encoding" not in answer.headers
    assert len(answer.content) == (2 * len(LOG) if coding == "gzip" else 300 << 10)


async def test_a_file_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How it can be sent is found out once, until it changes, even if its size and time stay."""
    looked_at = []

    async def look(pool: Any, path: str) -> Any:
        looked_at.append(path)
        return await coding_of(pool, path)

    monkeypatch.setattr(plain, "coding_of", look)
    monkeypatch.setattr(plain, "_SETTLED", -60)  # as if it had not just been written
    path = tmp_path / "a.zst"
    frame = zstandard.compress(noise(1000)) * 2
    two, one = frame, zstandard.compress(noise(len(frame) - 30))
    one += b"\x50\x2a\x4d\x18" + (len(two) - len(one) - 8).to_bytes(4, "little")
    one = one.ljust(len(two), b"\0")
    for data, content in ((two, noise(1000) * 2), (one, noise(len(frame) - 30))):
        path.write_bytes(data)
        os.utime(path, (1e9, 1e9))
        looked_at.clear()
        for _ in range(3):
            answer = await got(FileResponse(path), accept_encoding="identity")
            assert answer.content == content
        assert len(looked_at) == 1


async def test_what_is_one_frame(tmp_path: Path) -> None:
    """The library's own stream of one frame is, its indexed files and odd ones are not."""
    async with Engine(2, executor="thread") as engine:
        data = {"small": LOG[:60_000], "large": LOG + noise(600_000)}
        found = {}
        for codec in CODECS:
            for size, raw in data.items():
                path = tmp_path / f"{size}.{codec}"
                stream = engine.compress_stream(raw, codec=codec, single=True)
                path.write_bytes(await stream.read())
                found[size, codec, "single"] = await engine.content_encoding(path)
                path.write_bytes(await engine.compress(raw, codec=codec))
                found[size, codec, "file"] = await engine.content_encoding(path)
                path.write_bytes(path.read_bytes()[:-1])
                assert await engine.content_encoding(path) is None
        odd = tmp_path / "odd"
        tiny = b"\x28\xb5\x2f\xfd\x20\0" + b"\0\0\0" * 70_000 + b"\1\0\0"
        for content in (
            tiny,
            b"",
            b"text",
            b"\x28\xb5\x2f\xfd",
            b"\x1f\x8b\x08",
            b"\x1f\x8b\x08\0" * 9,
        ):
            odd.write_bytes(content)
            assert await engine.content_encoding(odd) is None
        wide = zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters(window_log=24)
        ).compressobj()
        odd.write_bytes(wide.compress(LOG) + wide.flush())
        assert await engine.content_encoding(odd) is None
        with pytest.raises(FileNotFoundError):
            await engine.content_encoding(tmp_path / "missing")
    single = {key: value for key, value in found.items() if key[2] == "single"}
    # A large gzip member that does not state its size is not tried.
    assert single.pop(("large", "gzip", "single")) in {"gzip", None}
    assert all(value == codec for (_, codec, _), value in single.items())
    assert found["small", "zstd", "file"] == "zstd"
    assert found["small", "gzip", "file"] == "gzip"


@pytest.mark.parametrize("suffix", ["zst", "gz"])
async def test_ranges_of_what_a_file_holds(suffix: str, tmp_path: Path) -> None:
    """A file with a table, and a small one, is decoded where it is asked for."""
    data = LOG * 10 + noise(100_000)
    small, large = (b"0123456789", "small"), (data, "large")
    for raw, name in (small, large) if suffix == "zst" else (small,):
        path = tmp_path / f"{name}.{suffix}"
        sync.compress_file(raw, path, "256KiB")
        whole = await got(FileResponse(path))
        assert whole.content == raw
        assert whole.headers["content-length"] == str(len(raw))
        for start, end in ((0, 1), (5, 8), (len(raw) - 3, len(raw)), (len(raw) // 2, len(raw))):
            part = await got(FileResponse(path), range=f"bytes={start}-{end - 1}")
            assert (part.status_code, part.content) == (206, raw[start:end])
    foreign = tmp_path / f"foreign.{suffix}"
    foreign.write_bytes(zstandard.compress(data) if suffix == "zst" else gzip.compress(data))
    answer = await got(FileResponse(foreign), range="bytes=0-1")
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["accept-ranges"] == "none"


async def test_a_file_as_it_is_stored(root: Path) -> None:
    """Nothing is decoded where the caller does not want it."""
    answer = await got(FileResponse(root / "log.zst", decode=False), accept_encoding="zstd")
    assert "content-encoding" not in answer.headers
    assert answer.content == (root / "log.zst").read_bytes()
    assert answer.headers["content-disposition"] == 'attachment; filename="log.zst"'


async def test_a_damaged_file(tmp_path: Path) -> None:
    """Damage at its start is known before any header is sent; the answer names no path."""
    path = tmp_path / "bad.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    answer = await got(FileResponse(path))
    assert answer.status_code == 500
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("what", ["stored", "decoded"])
async def test_a_file_that_shrinks(what: str, tmp_path: Path) -> None:
    """The answer breaks off, also on a server that does not count what was announced."""
    path = tmp_path / "x.zst"
    sync.compress_file(noise(12 << 20), path)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            os.truncate(path, 9 << 20)

    response = FileResponse(path, decode=what == "decoded")
    with pytest.raises(TruncatedError):
        await response({"type": "http", "method": "GET", "headers": []}, Event().wait, send)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("page.html.gz", "application/gzip"), ("a.tar.gz", "application/gzip"), ("x.bz2", "/octet-")],
)
async def test_types_of_stored_files(name: str, kind: str, tmp_path: Path) -> None:
    """They are compressed, whatever they hold."""
    (tmp_path / name).write_bytes(gzip.compress(b"<script>"))
    answer = await got(FileResponse(tmp_path / name, decode=False))
    assert kind in answer.headers["content-type"]


async def test_damage_behind_good_bytes(tmp_path: Path) -> None:
    """The answer breaks off, so that nobody takes it for the whole."""
    path = tmp_path / "bad.zst"
    path.write_bytes(zstandard.compress(noise(600_000)) + b"\x28\xb5\x2f\xfd" + bytes(30))
    with pytest.raises(CorruptError):
        await got(FileResponse(path))


async def test_what_is_left_out_of_a_download(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With "skip" it is logged, as the client cannot be told any more."""
    (tmp_path / "file").write_text("here")
    os.mkfifo(tmp_path / "pipe")
    sockets = socket.socket(socket.AF_UNIX)
    with sockets, caplog.at_level("WARNING", "aiocompress"):
        sockets.bind(str(tmp_path / "socket"))
        answer = await got(FolderResponse(tmp_path, prefix="x", on_error="skip"))
    assert "x/file" in unpacked(answer.content)
    assert "left out of a download" in caplog.text
    assert "socket" in caplog.text


async def test_bombs(tmp_path: Path) -> None:
    """What decodes to more than is allowed breaks off."""
    path = tmp_path / "bomb.zst"
    path.write_bytes(zstandard.compress(bytes(20 << 20)))
    answer = await got(FileResponse(path, max_output="100KiB"))
    assert (answer.status_code, "larger than" in answer.text) == (500, True)
    with pytest.raises(LimitError):
        await got(FileResponse(path, max_output="1MiB"))
    sync.compress_file(bytes(20 << 20), path, on_exists="replace")  # it says how much it holds
    assert (await got(FileResponse(path, max_output="1MiB"))).status_code == 500
    assert len((await got(FileResponse(path, max_output="20MiB"))).content) == 20 << 20


@pytest.mark.parametrize("name", ["missing", "docs", "pipe"])
async def test_no_file(name: str, root: Path) -> None:
    """What is no file is not found; a pipe is not waited for."""
    assert (await got(FileResponse(root / name))).status_code == 404


# Conditions and ranges.


async def test_ranges(root: Path) -> None:
    """Every form of a range, and what is none."""
    data = (root / "data.bin").read_bytes()
    size = len(data)
    for asked, expected in {
        "bytes=0-9": (0, 10),
        "bytes=100-": (100, size),
        "bytes=-5": (size - 5, size),
        f"bytes=-{size + 9}": (0, size),
        f"bytes=5-{size + 9}": (5, size),
    }.items():
        answer = await got(FileResponse(root / "data.bin"), range=asked)
        start, end = expected
        assert answer.status_code == 206
        assert answer.content == data[start:end]
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=-0"):
        answer = await got(FileResponse(root / "data.bin"), range=asked)
        assert (answer.status_code, answer.content) == (416, b"")
        assert answer.headers["content-range"] == f"bytes */{size}"
    for asked in ("bytes=9-5", "bytes=a-b", "lines=1-2", "bytes=-", "bytes=0-1,5-6"):
        answer = await got(FileResponse(root / "data.bin"), range=asked)
        assert (answer.status_code, len(answer.content)) == (200, size)


@given(st.text("bytes=0123456789-, ", max_size=20), st.integers(0, 1000))
def test_any_range(asked: str, size: int) -> None:
    """A range is inside of the body, refused, or taken for none."""
    try:
        found = wanted_range({"range": asked}, size, Validators())
    except UnsatisfiableError:
        return
    if found is not None:
        start, end = found
        assert 0 <= start < end <= size


async def test_not_modified(root: Path) -> None:
    """A client that has this version gets nothing; one that wants another one is told."""
    first = await got(FileResponse(root / "data.bin"))
    tag, date = first.headers["etag"], first.headers["last-modified"]
    later, earlier = formatdate(2**33, usegmt=True), formatdate(0, usegmt=True)
    for status, headers in (
        (304, {"if_none_match": tag}),
        (304, {"if_none_match": f'"other", W/{tag}'}),
        (304, {"if_none_match": "*"}),
        (200, {"if_none_match": '"other"'}),
        (304, {"if_modified_since": date}),
        (304, {"if_modified_since": later}),
        (200, {"if_modified_since": earlier}),
        (200, {"if_modified_since": "yesterday"}),
        (200, {"if_none_match": '"other"', "if_modified_since": later}),
        (412, {"if_match": '"other"'}),
        (200, {"if_match": tag}),
        (412, {"if_match": f"W/{tag}"}),
        (412, {"if_unmodified_since": earlier}),
        (200, {"if_unmodified_since": date}),
    ):
        answer = await got(FileResponse(root / "data.bin"), **headers)
        assert answer.status_code == status, headers
        assert len(answer.content) == (300 << 10 if status == 200 else 0)
        assert answer.headers["etag"] == tag
        assert ("content-type" in answer.headers) == (status == 200)


async def test_ranges_of_a_version(root: Path, tmp_path: Path) -> None:
    """``If-Range`` of another version gets the whole; so does a date that may be of two."""
    path = root / "data.bin"
    os.utime(path, (10**9, 10**9))
    first = await got(FileResponse(path))
    for expected, version in (
        (206, first.headers["etag"]),
        (206, first.headers["last-modified"]),
        (200, '"other"'),
        (200, f"W/{first.headers['etag']}"),
        (200, formatdate(0, usegmt=True)),
    ):
        answer = await got(FileResponse(path), range="bytes=0-0", if_range=version)
        assert answer.status_code == expected, version
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"12345")
    date = (await got(FileResponse(fresh))).headers["last-modified"]
    answer = await got(FileResponse(fresh), range="bytes=0-0", if_range=date)
    assert answer.status_code == 200


def test_codings() -> None:
    """``Accept-Encoding`` with weights, by name before the star."""
    for expected, given_ in (
        (True, "zstd"),
        (True, "gzip, ZSTD ;q=0.5"),
        (True, "*"),
        (False, ""),
        (False, "identity"),
        (False, "zstd;q=0"),
        (False, "zstd; q=0.000, *"),
        (False, "*;q=0"),
        (False, "zstd;q=nonsense"),
    ):
        assert accepts({"accept-encoding": given_}, "zstd") is expected, given_


def test_names_in_headers() -> None:
    """A name can neither end a header nor hide what it is."""
    assert disposition("inline", "a b.txt") == 'inline; filename="a b.txt"'
    shown = disposition("attachment", 'ü"\r\n\\%41\udcff')
    assert shown.isascii()
    assert "\r" not in shown
    assert "filename*=UTF-8''%C3%BC%22%0D%0A%5C%2541%EF%BF%BD" in shown


# Members.


@pytest.mark.parametrize("name", ["ours.tar.zst", "theirs.tar.gz"])
async def test_a_member(name: str, root: Path) -> None:
    """Whole and in ranges, out of an open archive and out of a path."""
    content = (root / "docs" / "notes.txt").read_bytes()
    answer = await got(MemberResponse(root / name, "docs/notes.txt"))
    assert answer.content == content
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="notes.txt"'
    async with open_archive(root / name) as archive:
        part = await got(MemberResponse(archive, "docs/notes.txt"), range="bytes=10-19")
        assert (part.status_code, part.content) == (206, content[10:20])
        assert part.headers["etag"] == answer.headers["etag"]
        other = await got(MemberResponse(archive, "docs/deep/down.txt"))
        assert other.headers["etag"] != answer.headers["etag"]
        again = await got(
            MemberResponse(archive, "docs/notes.txt"), if_none_match=answer.headers["etag"]
        )
        assert again.status_code == 304


@pytest.mark.parametrize("member", ["missing", "docs", "docs/inner", "../secret"])
async def test_no_member(member: str, root: Path) -> None:
    """What is no file in the archive is not found; a link in it leads nowhere."""
    for name in ("ours.tar.zst", "theirs.tar.gz", "data.bin", "missing"):
        answer = await got(MemberResponse(root / name, member))
        assert answer.status_code == 404
        assert SECRET not in answer.content
        assert str(root) not in answer.text


async def test_an_object_in_a_store(root: Path) -> None:
    """An archive that is no file has no tag, and the same bytes."""

    class Stored:
        data = (root / "ours.tar.zst").read_bytes()

        async def size(self) -> int:
            return len(self.data)

        async def read_at(self, offset: int, size: int, /) -> bytes:
            return self.data[offset : offset + size]

    async with open_archive(Stored()) as archive:
        answer = await got(MemberResponse(archive, "docs/deep/down.txt"))
    assert answer.text == "far down"
    assert "etag" not in answer.headers


# In applications.


async def test_fastapi_and_starlette(root: Path) -> None:
    """They return the responses as their own, and show errors in their own way."""
    fastapi, applications = module("fastapi"), module("starlette.applications")
    api, ran = fastapi.FastAPI(), []

    @api.get("/{name}")
    async def download(name: str) -> Any:
        task = module("starlette.background").BackgroundTask(ran.append, name)
        return FileResponse(root / name, filename="x.txt", background=task)

    starlette = applications.Starlette()
    starlette.add_route("/{name}", lambda asked: FileResponse(root / asked.path_params["name"]))
    async with asking(api) as client:
        assert (await client.get("/log.gz")).content == LOG
        assert ran == ["log.gz"]
        assert (await client.get("/missing")).json() == {"detail": "Not Found"}
    async with asking(starlette) as client:
        assert (await client.get("/log.zst")).content == LOG
        assert (await client.get("/missing")).status_code == 404
