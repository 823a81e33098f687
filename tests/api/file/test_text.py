"""Files of text: what ``io.TextIOWrapper`` does over the plain bytes."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

import aiocompress

TEXT = "a\r\nb\rc\nd\u2028e\x0bf\x85g\n\n" * 3000 + "ü€😀" * 500 + "\r"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-7", "shift_jis"]
NEWLINES = [None, "", "\n", "\r", "\r\n"]


def written(text: str, encoding: str, newline: str | None) -> bytes:
    """What ``io`` writes."""
    plain = io.BytesIO()
    with io.TextIOWrapper(plain, encoding, "replace", newline) as file:
        file.write(text)
        file.flush()
        return plain.getvalue()


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_as_io_does(encoding: str, newline: str | None, tmp_path: Path) -> None:
    """The same bytes are written, the same lines read, and every line is found again."""
    path = tmp_path / "a.zst"
    options = {"encoding": encoding, "errors": "replace", "newline": newline}
    async with aiocompress.open(path, "wt", **options) as file:
        for at in range(0, len(TEXT), 7777):
            assert await file.write(TEXT[at : at + 7777]) == len(TEXT[at : at + 7777])
            await file.flush()
    plain = written(TEXT, encoding, newline)
    async with aiocompress.open(path) as raw:
        assert await raw.read() == plain
    theirs = io.TextIOWrapper(io.BytesIO(plain), encoding, "replace", newline)
    lines = theirs.readlines()
    async with aiocompress.open(path, "rt", **options) as file:
        assert [line async for line in file] == lines
        await file.seek(0)
        places = []
        for number, line in enumerate(lines):
            if not number % 997:
                places.append((await file.tell(), number))
            assert await file.readline() == line
        for place, number in reversed(places):
            assert await file.seek(place) == place
            assert await file.read(50) == "".join(lines[number : number + 60])[:50]
        assert await file.seek(0, io.SEEK_END)
        assert await file.read() == ""


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_appending(encoding: str, tmp_path: Path) -> None:
    """There is one mark of byte order, at the beginning."""
    path = tmp_path / "a.gz"
    for _ in range(2):
        async with aiocompress.open(path, "at", encoding=encoding) as file:
            await file.writelines(["one\n", "two\n"])
    assert gzip.decompress(path.read_bytes()).decode(encoding) == "one\ntwo\n" * 2


async def test_what_is_no_text(tmp_path: Path) -> None:
    """Errors of ``codecs`` come as they are; bytes are refused."""
    path = tmp_path / "a.zst"
    async with aiocompress.open(path, "wb") as raw:
        await raw.write(b"caf\xe9")
    async with aiocompress.open(path, "rt", encoding="utf-8") as file:
        with pytest.raises(UnicodeDecodeError):
            await file.read()
    async with aiocompress.open(path, "rt", encoding="utf-8", errors="replace") as file:
        assert await file.read() == "caf\ufffd"
        with pytest.raises(io.UnsupportedOperation):
            await file.seek(1, io.SEEK_CUR)
        with pytest.raises(io.UnsupportedOperation):
            await file.read1()
    async with aiocompress.open(path, "wt", encoding="ascii") as file:
        assert (file.encoding, file.errors) == ("ascii", "strict")  # type: ignore[attr-defined]
        with pytest.raises(TypeError, match="must be str"):
            await file.write(b"a")  # type: ignore[arg-type]
        with pytest.raises(UnicodeEncodeError):
            await file.write("é")
        await file.write("e")
    assert (await aiocompress.decompress(path.read_bytes())) == b"e"
