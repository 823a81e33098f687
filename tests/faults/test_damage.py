"""Files cut at every byte, with every bit flipped, and damaged at random, as file and as pipe."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from aiocompress import AiocompressError, CorruptError, Engine

from ..help.containers import check_offset, encode
from ..help.data import noise, text
from ..help.hostile import Member, compressed, folder, indexed, symlink, tar
from ..help.trees import Tree, in_seconds, look
from .counting import WHOLE, chosen, count, dice, lose, quick_and_whole
from .mutations import FOLDER
from .world import Watch

Way = Literal["file", "pipe"]
MEMBERS = (
    folder(b"d"),
    Member(b"d/a", data=text(300)),
    Member(b"d/b", data=noise(150), mode=0o600),
    Member(b"e"),
    symlink(b"l", b"d/a"),
)


@dataclass(frozen=True)
class Format:
    """A small file of a format, and what damage to it may do.

    :param checked: whether every byte of the content stands under a checksum.
    :param ends: whether a cut is seen wherever it is; None: not where two entries meet.
    :param least: bytes from which on nothing but padding follows.
    """

    data: Callable[[], bytes]
    is_archive: bool
    checked: bool = True
    ends: bool = True


def _framed() -> bytes:
    return (FOLDER / "script-be-bytes.framed").read_bytes()


CHUNKS = (text(120), noise(40), text(60, 1))
FORMATS = {
    "zst": Format(lambda: encode(CHUNKS), is_archive=False),
    "zst of zstd": Format((FOLDER / "tool.zst").read_bytes, is_archive=False),
    "gz": Format(lambda: encode(CHUNKS, "gzip"), is_archive=False),
    "gz of gzip": Format((FOLDER / "tool.gz").read_bytes, is_archive=False),
    "zlib": Format((FOLDER / "two.zz").read_bytes, is_archive=False, ends=False),
    "tar.zst": Format(lambda: indexed(MEMBERS, frame=2048), is_archive=True),
    "tar.gz": Format(lambda: indexed(MEMBERS, "gzip", frame=2048), is_archive=True),
    "tar.zst of others": Format(lambda: compressed(tar(MEMBERS)), is_archive=True),
    "tar.gz of others": Format(lambda: compressed(tar(MEMBERS), "gzip"), is_archive=True),
    "tar": Format(lambda: tar(MEMBERS), is_archive=True, checked=False),
    "framed": Format(_framed, is_archive=True, checked=False, ends=False),
}
WAYS = [
    (name, way) for name in FORMATS for way in ("file", "pipe") if (name, way) != ("framed", "pipe")
]
"""A framed container has no pipe: it is only ever read as a file."""


class Reading:
    """One format, read one way, over and over."""

    def __init__(self, engine: Engine, name: str, way: Way, place: Path, kind: str) -> None:
        self.format, self.data, self.kind = FORMATS[name], FORMATS[name].data(), kind
        self._engine, self._way, self._place = engine, way, place
        self._about = f"{name}, {way}"
        self.expected: Any = None

    async def begin(self) -> None:
        """Read what is whole."""
        self.expected = await self._read(self.data)
        assert self.expected

    async def _read(self, data: bytes) -> bytes | Tree:
        source, made = self._place / "source", self._place / "made"
        source.write_bytes(data)
        given: Any = source if self._way == "file" else _pieces(data)
        try:
            if not self.format.is_archive:
                await self._engine.decompress_file(given, made, fsync=False)
                return made.read_bytes()
            if self._way == "file":
                await self._engine.decompress_folder(given, made, fsync=False)
            else:
                async with self._engine.open_archive(given) as archive:
                    await archive.extract(made, fsync=False)
            return self._tree(made)
        finally:
            if left := set(os.listdir(self._place)) - {"source", "made"}:
                lose(self.kind, f"{self._about}: {left} left")
            if made.is_dir():
                shutil.rmtree(made)
            made.unlink(missing_ok=True)

    @staticmethod
    def _tree(made: Path) -> Tree:
        """Return what was restored: parts of seconds stand in an index alone, if there is one."""
        return {
            path: node if node.kind == "file" else replace(node, mtime_ns=0)
            for path, node in in_seconds(look(made)).items()
        }

    async def damaged(self, data: bytes, about: str) -> str:
        """Read what is damaged; returns the error, "the same" or "another"."""
        count(self.kind)
        try:
            found = await asyncio.wait_for(self._read(data), 20)
        except AiocompressError as error:
            if isinstance(error, CorruptError) and error.offset is not None:
                check_offset(error, max(len(data), 1 << 20 if self.format.is_archive else 0))
            return str(error)
        except TimeoutError:
            lose(self.kind, f"{self._about}, {about}: it hangs")
        except OSError as error:
            if self.format.checked:
                lose(self.kind, f"{self._about}, {about}: {error!r}")
            return str(error)  # a name, say, that is too long for this system
        except Exception as error:  # noqa: BLE001 - which is what this is about
            lose(self.kind, f"{self._about}, {about}: {error!r}")
        return "the same" if found == self.expected else "another"


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100):
        yield data[at : at + 100]


async def _sweep(
    name: str, way: Way, place: Path, kind: str, faults: Callable[[bytes], Iterator[Fault]]
) -> None:
    async with Engine(2, executor="thread") as engine:
        reading = Reading(engine, name, way, place, kind)
        await reading.begin()
        watch = Watch(kind)
        for about, data, allowed in faults(reading.data):
            said = await reading.damaged(data, about)
            if said == "another" and reading.format.checked and "another" not in allowed:
                lose(kind, f"{name}, {way}, {about}: other content, and no error")
            if said == "the same" and "the same" not in allowed:
                lose(kind, f"{name}, {way}, {about}: it is not seen")
        watch.check((name, way))
        await reading.begin()


Fault = tuple[str, bytes, tuple[str, ...]]


@quick_and_whole
@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_cut_at_every_byte(name: str, way: Way, whole: bool, tmp_path: Path) -> None:
    """Always an error that says where; but zeros at the end of a tar are only padding."""
    form = FORMATS[name]

    def cuts(data: bytes) -> Iterator[Fault]:
        allowed: tuple[str, ...] = () if form.ends else ("another", "the same")
        # The end mark of a tar is 1,024 zeros, of which half will do.
        ignorable = len(data) - 512 if name == "tar" else len(data)
        for size in chosen(len(data), len(data) if whole else 8, name, way):
            yield f"cut at {size}", data[:size], allowed if size < ignorable else ("the same",)

    await _sweep(name, way, tmp_path, "a cut", cuts)


@quick_and_whole
@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_every_bit_flipped(name: str, way: Way, whole: bool, tmp_path: Path) -> None:
    """An error, or the same content where the bit does not matter."""

    def flips(data: bytes) -> Iterator[Fault]:
        bits = 8 * len(data)
        for bit in chosen(bits, 20 * WHOLE if whole else 12, name, way, "bit"):
            made = bytearray(data)
            made[bit // 8] ^= 1 << bit % 8
            yield f"bit {bit}", bytes(made), ("the same",)

    await _sweep(name, way, tmp_path, "a flipped bit", flips)


@quick_and_whole
@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_one_percent_damaged(name: str, way: Way, whole: bool, tmp_path: Path) -> None:
    """An error; the same content, if all of it hit what does not matter."""

    def damages(data: bytes) -> Iterator[Fault]:
        for n in range(WHOLE if whole else 4):
            chance, made = dice(name, way, n), bytearray(data)
            for at in chance.sample(range(len(data)), max(1, len(data) // 100)):
                made[at] = chance.randrange(256)
            yield f"damage {n}", bytes(made), ("the same",)

    await _sweep(name, way, tmp_path, "1 % damaged", damages)
