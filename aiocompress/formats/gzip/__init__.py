"""gzip: the codec (RFC 1952), ``.gz`` of members that say their sizes, and the scan of both.

May import: ``base``, ``deflate``, ``scan`` and ``parts`` beside it, ``model`` and ``errors``; no
other codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocompress.formats.base import Format
from aiocompress.formats.gzip import codec, container

if TYPE_CHECKING:
    from aiocompress.formats.scan import Scan, View


def _scan(view: View, max_window: int) -> Scan:
    from aiocompress.formats.gzip.scan import GzScan  # only recover needs it

    return GzScan(view, max_window)


FORMAT = Format(
    name="gzip",
    suffixes=(".gz", ".gzip"),
    tar_suffixes=(".tgz",),
    is_magic=lambda head: head[:3] == codec.MAGIC,
    codec=codec.CODEC,
    container=container.CONTAINER,
    scan=_scan,
)
