"""Zstandard: the codec (RFC 8878), ``.zst`` with its seek table, and the scan of both.

May import: ``base``, ``scan`` and ``parts`` beside it, ``model`` and ``errors``; no other codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocompress.formats.base import Format
from aiocompress.formats.zstd import codec, container
from aiocompress.formats.zstd.frame import MAGIC, is_skippable

if TYPE_CHECKING:
    from aiocompress.formats.scan import Scan, View


def _scan(view: View, max_window: int) -> Scan:
    from aiocompress.formats.zstd.scan import ZstScan  # only recover needs it

    return ZstScan(view, max_window)


FORMAT = Format(
    name="zstd",
    suffixes=(".zst", ".zstd"),
    tar_suffixes=(".tzst",),
    is_magic=lambda head: head[:4] == MAGIC or (len(head) >= 4 and is_skippable(head)),
    codec=codec.CODEC,
    container=container.CONTAINER,
    scan=_scan,
)
