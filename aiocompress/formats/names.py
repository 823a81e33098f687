"""Suffixes to codecs and layouts, and names of files with and without their suffix.

A suffix only decides how a result is written and named; what a file holds is told by its content.
"""

from __future__ import annotations

import os
from typing import Final, cast, get_args

from aiocompress.formats import FORMATS
from aiocompress.model import Codec, Layout, PathLike

_TAR: Final = ".tar"
_FOREIGN: Final = (
    *(".zip", ".7z", ".rar", ".tar", ".xz", ".txz", ".bz2", ".tbz", ".tbz2", ".lz", ".lzma"),
    *(".lz4", ".br", ".cpio", ".jar", ".whl", ".iso", ".cab", ".deb", ".rpm", ".apk", ".ar"),
)
"""Suffixes of other archives and codecs: no folder is meant by such a name."""


def suffix_of(codec: str) -> str:
    """Return the suffix of the files that a codec writes."""
    return FORMATS[codec].suffixes[0]


def written(before: str = "") -> str:
    """Return the suffixes of the files that are written, for a message, each behind ``before``."""
    return " or ".join(before + row.suffixes[0] for row in FORMATS.values() if row.codec.levels)


def codec_for(destination: PathLike) -> Codec:
    """Return the name of the codec that a destination's suffix asks for.

    :raises ValueError: the suffix is unknown, or that of a read-only codec.
    """
    name = os.fspath(destination)
    for row in FORMATS.values():
        if row.codec.levels and name.lower().endswith((*row.suffixes, *row.tar_suffixes)):
            return cast("Codec", row.name)
    msg = f"{name}: unknown suffix; name it {written()}, or say the codec"
    raise ValueError(msg)


def layout_for(destination: PathLike, layout: Layout | None) -> Layout:
    """Return the layout that the caller asks for, or the one that the destination's suffix implies.

    :raises ValueError: there is no such layout, or the suffix is that of another format.
    """
    if layout is not None:
        if layout in get_args(Layout):
            return layout
        msg = f"layout must be 'archive', 'mirror' or 'framed', not {layout!r}"
        raise ValueError(msg)
    name = os.fspath(destination)
    if name.lower().endswith(_FOREIGN):
        msg = f"{name}: this format is not written here; name it {written(_TAR)}, or a folder"
        raise ValueError(msg)
    try:
        codec_for(name)
    except ValueError:
        return "mirror"
    return "archive"


def is_tar(name: str) -> bool:
    """Whether a path is that of a compressed tar."""
    return (restored(os.path.basename(name)) or "").lower().endswith(_TAR)


def restored(name: str) -> str | None:
    """Return the name of the decompressed file; None: the suffix is unknown.

    :param name: without its folder. ``a.zst`` gives ``a``, ``a.tgz`` gives ``a.tar``.
    """
    base, dot, suffix = name.rpartition(".")
    if not base.strip("."):  # a name of nothing but a suffix has none, and ".." is no name
        return None
    suffix = dot + suffix.lower()
    for row in FORMATS.values():
        if suffix in row.suffixes:
            return base
        if suffix in row.tar_suffixes:
            return base + _TAR
    return None


def stem(path: str) -> str | None:
    """Return the path of an archive without its suffixes; None: they are unknown."""
    folder, name = os.path.split(path)
    base = restored(name) or (name if name.lower().endswith(_TAR) else "")
    if base.lower().endswith(_TAR):
        base = base[: -len(_TAR)]
    return os.path.join(folder, base) if base else None
