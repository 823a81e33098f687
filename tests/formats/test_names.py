"""Names with and without their suffixes."""

from __future__ import annotations

import pytest

from aiocompress.formats import names


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("a.tar.zst", "a"),
        ("A.TAR.ZST", "A"),
        ("d/A.Tar.gz", "d/A"),
        ("a.TGZ", "a"),
        ("A.TAR", "A"),
        ("a.tar", "a"),
        ("a.zst", "a"),
        ("a.tar.tar.gz", "a.tar"),
        ("a.txt", None),
        (".tar", None),
        (".TAR.gz", None),
        ("d/.zst", None),
    ],
)
def test_stems(path: str, stem: str | None) -> None:
    """Suffixes count in any case; what is nothing else has no stem."""
    assert names.stem(path) == stem
