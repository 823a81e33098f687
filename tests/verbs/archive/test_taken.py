"""Names that are taken: compared with a dictionary, through any growth."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocompress.verbs.archive.taken import Taken

NAMES = st.lists(st.sampled_from([b"a", b"b", b"cc"]), min_size=1, max_size=4).map(b"/".join)


@given(calls=st.lists(st.tuples(NAMES, st.booleans()), max_size=40))
def test_any_names(calls: list[tuple[bytes, bool]]) -> None:
    """It admits a name exactly where a file system would have room for it."""
    taken, files, folders, told = Taken(), set[bytes](), set[bytes](), set[bytes]()
    for name, is_folder in calls:
        parts = name.split(b"/")
        above = {b"/".join(parts[:end]) for end in range(1, len(parts))}
        is_free = name not in files and not files & above and (is_folder or name not in folders)
        if not is_free:
            for ask in (taken.admits, taken.take):
                with pytest.raises(ValueError, match=r"is in the|is a folder|cannot be in"):
                    ask(name, is_folder=is_folder)
            continue
        assert taken.admits(name, is_folder=is_folder) == (name not in told)
        assert taken.take(name, is_folder=is_folder) == (name not in told)
        folders |= above
        (folders if is_folder else files).add(name)
        told |= {name} if is_folder else set()


def test_many_names() -> None:
    """Each is found again, and a name takes 32 bytes at most, whatever its length."""
    taken, number = Taken(), 100_000
    for name in (b"%d/%d" % (at % 300, at) for at in range(number)):
        assert taken.take(name)
    for at in range(0, number, 7):
        with pytest.raises(ValueError, match="is in the archive already"):
            taken.admits(b"%d/%d" % (at % 300, at))
        assert taken.admits(b"%d/%d" % (at % 300, at + number))
    with pytest.raises(ValueError, match="is a folder"):
        taken.admits(b"7")
    size = sum(sys.getsizeof(part) for part in taken._names._parts)
    assert size <= 32 * number + 256 * 64
