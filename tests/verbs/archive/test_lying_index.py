"""An index that lies: never wrong bytes, and ``test`` finds every lie."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from aiocompress import CorruptError, MemberNotFoundError

from ...help import hostile, trees
from ...help.archives import ON_ERROR, SUFFIXES, every_codec, two_threads, unpack
from ...help.data import noise, text
from ...help.hostile import Member, Row, folder, hardlink, symlink
from ...help.tools import run, tool
from ...help.trees import IS_ROOT, Tree

HONEST = [
    folder(b"d"),
    Member(b"d/a", data=text(3000)),
    Member(b"d/b", data=noise(700), mode=0o755),
    symlink(b"d/l", b"a"),
    hardlink(b"d/h", b"d/a"),
    Member(b"empty"),
    Member(b"large", data=noise(9000)),
    Member(b"p" * 120, data=b"long"),
    Member(b"z", data=text(600)),
]


def _row(number: int, **fields: Any) -> hostile.Lie:
    return lambda rows: [
        row._replace(**fields) if at == number else row for at, row in enumerate(rows)
    ]


def _both(*lies: hostile.Lie) -> hostile.Lie:
    def change(rows: list[Row]) -> list[Row]:
        for lie in lies:
            rows = lie(rows)
        return rows

    return change


def _swap(one: int, two: int) -> Callable[[list[Any]], list[Any]]:
    def change(rows: list[Any]) -> list[Any]:
        rows[one], rows[two] = rows[two], rows[one]
        return rows

    return change


EXTRA = Row(b"extra", b"0"[0], 1, 0, 0o644, 0, (0, 0, b"", b""), b"")
LIES: dict[str, dict[str, Any]] = {
    "a size": {"lie": _row(1, size=2999)},
    "a size, larger": {"lie": _row(1, size=3001)},
    "a size, a block more": {"lie": _row(1, size=3512)},
    "a size, a block less and one more": {"lie": _both(_row(1, size=2488), _row(2, size=1212))},
    "a huge size": {"lie": _row(6, size=1 << 50)},
    "no size": {"lie": _row(6, size=0)},
    "a name": {"lie": _row(1, name=b"d/c")},
    "a name that leads out": {"lie": _row(1, name=b"../x")},
    "a name over another": {"lie": _row(2, name=b"d/a")},
    "two names": {"lie": _both(_row(1, name=b"d/b"), _row(2, name=b"d/a"))},
    "a long name": {"lie": _row(7, name=b"q" * 120)},
    "the name of what spans": {"lie": _row(6, name=b"larger")},
    "a mode": {"lie": _row(1, mode=0o4777)},
    "the mode of a folder": {"lie": _row(0, mode=0o777)},
    "a time": {"lie": _row(2, mtime_ns=5)},
    "the time of a folder": {"lie": _row(0, mtime_ns=5)},
    "a link": {"lie": _row(3, link=b"b")},
    "a hard link": {"lie": _row(4, link=b"d/b")},
    "a kind": {"lie": _row(5, kind=b"5"[0])},
    "a link that is a hard link": {"lie": _row(3, kind=b"1"[0], link=b"d/a")},
    "a hard link that is a file": {"lie": _row(4, kind=b"0"[0], link=b"")},
    "a file that is a link": {"lie": _row(5, kind=b"2"[0], link=b"/etc")},
    "the blocks of a header": {"lie": _row(7, blocks=1)},
    "a block of content as header": {"lie": _row(1, blocks=2, size=2488)},
    "a record missing": {"lie": lambda rows: rows[:2] + rows[3:]},
    "the first record missing": {"lie": lambda rows: rows[1:]},
    "the last record missing": {"lie": lambda rows: rows[:-1]},
    "a record more": {"lie": lambda rows: [*rows[:2], EXTRA, *rows[2:]]},
    "a record more at the end": {"lie": lambda rows: [*rows, EXTRA]},
    "a record twice": {"lie": lambda rows: [*rows[:3], rows[2], *rows[3:]]},
    "records swapped": {"lie": _swap(1, 2)},
    "folder and link swapped": {"lie": _swap(3, 4)},
    "no records": {"lie": lambda rows: rows[:0]},
    "an offset": {"shift": 512},
    "an offset that is no block's": {"shift": 1},
    "blocks swapped": {"in_block": 2, "blocks": _swap(1, 2)},
    "a block removed": {"in_block": 2, "blocks": lambda blocks: blocks[:1] + blocks[2:]},
    "the last block removed": {"in_block": 2, "blocks": lambda blocks: blocks[:-1]},
    "a block twice": {"in_block": 2, "blocks": lambda blocks: [*blocks, blocks[-1]]},
    "a damaged block": {"blocks": lambda blocks: [block[:-9] + bytes(9) for block in blocks]},
    "a cut block": {"blocks": lambda blocks: [block[:-1] for block in blocks]},
    "a foreign block": {"blocks": lambda _: [b"something else"]},
    "a block of a later version": {
        "blocks": lambda blocks: [block[:8] + b"\x02" + block[9:] for block in blocks]
    },
    "an empty block": {"blocks": lambda _: [b""]},
}


def _row_of_table(number: int, *more: int) -> hostile.Table:
    def change(rows: list[list[int]]) -> list[list[int]]:
        for at, value in enumerate(more):
            rows[number][at] += value
        return rows

    return change


def _shifted(column: int, by: int) -> hostile.Table:
    """What one frame has less, the next one has more: all sums stay."""

    def change(rows: list[list[int]]) -> list[list[int]]:
        rows[1][column] -= by
        rows[2][column] += by
        return rows

    return change


def _joined(rows: list[list[int]]) -> list[list[int]]:
    one, two = rows[1:3]
    return [rows[0], [one[0] + two[0], one[1] + two[1], *two[2:]], *rows[3:]]


TABLES: dict[str, hostile.Table] = {
    "a compressed size": _row_of_table(1, 1),
    "a raw size": _row_of_table(1, 0, 512),
    "compressed sizes": _shifted(0, 1),
    "compressed sizes, by much": _shifted(0, 100),
    "raw sizes": _shifted(1, 1),
    "raw sizes, by blocks": _shifted(1, 512),
    "raw sizes, by more": _shifted(1, -1024),
    "two frames as one": _joined,
    "frames swapped": _swap(1, 2),
    "a frame missing": lambda rows: [rows[0], *rows[2:]],
    "a frame twice": lambda rows: [rows[0], rows[1], *rows[1:]],
    "an empty frame more": lambda rows: [*rows[:2], [0, 0, *rows[0][2:]], *rows[2:]],
    "no frames": lambda rows: rows[:0],
    "the first frame alone": lambda rows: rows[:1],
    "huge sizes": lambda rows: [[0xFFFFFFFF, 0xFFFFFFFF, *row[2:]] for row in rows],
    "a huge raw size": _row_of_table(2, 0, 1 << 31),
}
ALL_LIES = LIES | {f"the table: {name}": {"table": change} for name, change in TABLES.items()}
every_lie = pytest.mark.parametrize("lie", ALL_LIES.values(), ids=ALL_LIES)


def _lying(lie: dict[str, Any], codec: str) -> bytes:
    return hostile.indexed(HONEST, codec, frame=2048, **lie)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What GNU tar makes of it."""
    place = tmp_path_factory.mktemp("honest")
    (place / "a.tar").write_bytes(hostile.tar(HONEST))
    (place / "out").mkdir()
    run(tool("tar"), "-xpf", place / "a.tar", "-C", place / "out", "--no-same-owner")
    return trees.restored(trees.look(place / "out"))


@every_codec
@every_lie
async def test_an_index_that_lies(
    lie: dict[str, Any], codec: str, honest: Tree, tmp_path: Path
) -> None:
    """Never wrong bytes: extraction and reading go on without the index."""
    path = tmp_path / "a"
    path.write_bytes(_lying(lie, codec))
    async with two_threads() as engine:
        for on_error in ON_ERROR:
            report = await engine.decompress_folder(
                path, tmp_path / "out", fsync=False, on_error=on_error
            )
            trees.check_same(trees.look(tmp_path / "out"), honest)
            assert report.files == len(HONEST) - 1
            assert report.skipped_count == 0
            shutil.rmtree(tmp_path / "out")
        async with engine.open_archive(path) as archive:
            for member in HONEST:
                if member.kind in b"01":
                    expected = HONEST[1].data if member.kind == b"1" else member.data
                    try:
                        assert await archive.read(os.fsdecode(member.name)) == expected
                    except MemberNotFoundError:
                        # The index knows no such name: nobody looks behind it.
                        assert archive.is_indexed


@pytest.mark.parametrize(
    ("codec", "name"),
    # An empty block is nothing at all in a .gz: an archive without an index.
    [pair for pair in product(SUFFIXES.values(), ALL_LIES) if pair != ("gzip", "an empty block")],
)
async def test_lies_are_found(codec: str, name: str, tmp_path: Path) -> None:
    """``test`` says so, and which archive it is; one without lies is sound."""
    (tmp_path / "a").write_bytes(_lying(ALL_LIES[name], codec))
    (tmp_path / "sound").write_bytes(_lying({}, codec))
    async with two_threads() as engine:
        async with engine.open_archive(tmp_path / "sound") as archive:
            assert (await archive.test()).files == len(HONEST) - 1
            assert archive.is_indexed
        with pytest.raises(CorruptError) as caught:
            async with engine.open_archive(tmp_path / "a") as archive:
                await archive.test()
        assert caught.value.file == str(tmp_path / "a")


@every_codec
async def test_owners_that_lie(codec: str, tmp_path: Path) -> None:
    """Owners are restored on request: as the header says, which others read."""
    if not IS_ROOT:
        pytest.skip("only root gives files away")
    lie = _both(
        *(_row(at, owner=(0, 0, b"root", b"root")) for at in (0, 1)),
        _row(2, owner=(77, 0, b"", b"")),
    )
    members = [folder(b"d", ids=(5, 5)), Member(b"d/a", ids=(6, 6)), Member(b"d/b", ids=(7, 7))]
    (tmp_path / "a").write_bytes(hostile.indexed(members, codec, lie=lie))
    await unpack(tmp_path / "a", tmp_path / "out", preserve=True)
    found = {name: (tmp_path / "out" / name).stat().st_uid for name in ("d", "d/a", "d/b")}
    assert found == {"d": 5, "d/a": 6, "d/b": 7}
