"""Formats of others, told by how their files begin: errors name them, nothing reads them."""

from __future__ import annotations

from typing import Final

_MAGICS: Final = (
    (b"\xfd7zXZ\0", "an xz file", "xz"),
    (b"\x5d\0\0", "an lzma file", "xz"),
    (b"LZIP", "an lzip file", "lzip"),
    *((b"BZh%d" % level, "a bzip2 file", "bzip2") for level in range(1, 10)),
    (b"\x04\x22\x4d\x18", "an lz4 file", "lz4"),
    (b"\x02\x21\x4c\x18", "an lz4 file", "lz4"),
    (b"\x89LZO\0\r\n\x1a\n", "an lzop file", "lzop"),
    *((b"PK" + rest, "a zip file", "unzip") for rest in (b"\3\4", b"\5\6", b"\7\x08")),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file", "7z"),
    (b"Rar!\x1a\x07", "a rar file", "unrar"),
    (b"\x1f\x9d", "a Z file", "uncompress"),
)
_LEGACY_ZSTD: Final = b"\xb5\x2f\xfd"
"""Behind a first byte that says the version: the format changed with each until 0.8."""
_LEGACY_VERSIONS: Final = {0x1E: 1} | {0x20 + version: version for version in range(2, 8)}


def named(head: bytes) -> tuple[str, str] | None:
    """Return what a file is, and what reads it, by its first bytes; None: it is not known."""
    version = _LEGACY_VERSIONS.get(head[0]) if head[1:4] == _LEGACY_ZSTD else None
    if version is not None:
        return f"a file of zstd 0.{version}, older than the format", "a zstd with legacy support"
    return next(((what, tool) for magic, what, tool in _MAGICS if head.startswith(magic)), None)
