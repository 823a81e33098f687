"""Members that stand whole in a stretch of a tar become files: a worker's part without an index.

The mirror of ``frame``, which has an index to go by: here the headers are all there is, and what is
odd in them is left to the way from front to back.
"""

from __future__ import annotations

import os

from aiocompress.errors import AiocompressError, UnsafeMemberError
from aiocompress.formats.tar.header import BLOCK, padding
from aiocompress.formats.tar.index import DIRECTORY, FILE, Records, Row
from aiocompress.formats.tar.indexer import described, missing_of
from aiocompress.formats.tar.plain import plain
from aiocompress.storage.reach import Reach
from aiocompress.storage.restorer import FATAL, Keeping, Restorer, checked
from aiocompress.verbs.archive.frame import UnlikeIndexError
from aiocompress.workers.job import Place, Result, views

_SIZES = slice(124, 136)
_ENDS_A_NUMBER = b"\0 "
_FILES, _OTHERS = b"0\0", b"123456"
_ZEROS = bytes(BLOCK)
_ANY = 1 << 62


def cut(view: memoryview, max_metadata: int) -> tuple[int, bool]:
    """Return up to where whole members stand in a tar, and whether its end marker is there.

    Sizes alone are looked at: a worker checks the rest of a plain header, and no other is believed
    before it is.

    :raises UnlikeIndexError: a header is odd.
    """
    at, size = 0, len(view)
    while at + BLOCK <= size:
        flag, field = view[at + 156], bytes(view[at + 124 : at + 136])
        if field[:11].isdigit() and field[11] in _ENDS_A_NUMBER and flag in _FILES:
            end = at + BLOCK + (content := int(field[:11], 8)) + padding(content)
        elif flag in _OTHERS:
            end = at + BLOCK
        elif view[at : at + BLOCK] == _ZEROS:
            return at, True
        else:
            head = headers(view[at:], max_metadata)
            if head is None:
                break
            row = _row(head)
            end = at + len(head) + row[3] + padding(row[3])
        if end > size:
            break
        at = end
    return at, False


def headers(view: memoryview, max_metadata: int = _ANY) -> bytes | None:
    """Return all headers of the member that begins here; None: they are not all here.

    :raises UnlikeIndexError: they are damaged, or there are more than allowed.
    """
    head = b""
    try:
        while missing := missing_of(head):
            if len(head) + missing > len(view):
                return None
            head = bytes(view[: len(head) + missing])
    except AiocompressError:
        raise UnlikeIndexError from None
    if len(head) > max_metadata:
        raise UnlikeIndexError
    return head


def _row(head: bytes) -> Row:
    try:
        return described(head)
    except AiocompressError:
        raise UnlikeIndexError from None


def restore_segment(place: Place, target: Reach, keeping: Keeping) -> Result:
    """Create the files and folders of a stretch that begins and ends between two members.

    :param target: the folder that the members go to.
    :returns: in ``data`` what has to wait until all files exist, as ``Records``.
    :raises UnlikeIndexError: a header is odd or damaged, or a member cannot be made.
    :raises OSError: what affects all members, such as a full disk.
    """
    data, _ = views(place)
    root = target.open()
    restorer = Restorer(root, keeping)
    later, files, at = Records(), 0, 0
    try:
        while at < len(data):
            row = plain(bytes(data[at : at + BLOCK])) or _row(headers(data[at:]) or b"")
            name, kind, blocks, size, mode, mtime_ns, owner, link = row
            at += BLOCK * blocks
            path = checked(name)
            if kind == FILE:
                restorer.write_file(path, data[at : at + size], mode, mtime_ns)
                files += 1
            else:
                if kind == DIRECTORY:
                    restorer.make_folder(path)
                later.add(name, kind, 1, 0, mode, mtime_ns, owner, link)
            at += size + padding(size)
    except UnsafeMemberError:
        raise UnlikeIndexError from None
    except OSError as error:
        if error.errno in FATAL:
            raise
        raise UnlikeIndexError from None
    finally:
        restorer.close()
        os.close(root)
    return Result(len(data), later.encode(), files=files)
