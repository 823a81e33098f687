"""Objects on servers and in stores elsewhere: read by ranges, and written in parts.

This package, and with it fsspec, is imported only for a URL: the extra ``remote``. ``base`` checks
that an object stays the one first seen, ``retries`` repeats requests where that helps; ``http``,
``s3`` and ``stores`` each ask one kind of server, and ``upload`` writes. May import what
``storage`` may.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module

from aiocompress.errors import AiocompressError
from aiocompress.model import OnExists, public_url
from aiocompress.storage.plain import apart
from aiocompress.storage.remote.base import RemoteArchive
from aiocompress.storage.remote.upload import S3Upload

__all__ = ["RemoteArchive", "S3Upload", "at", "upload_to"]


async def at(url: str) -> RemoteArchive:
    """Return the object at a URL; no request is made yet.

    :raises AiocompressError: the extra ``remote`` is not installed.
    """
    await _check_installed(url)
    from aiocompress.storage.remote.http import HttpArchive
    from aiocompress.storage.remote.stores import FsspecArchive

    is_http = url.lower().startswith(("http://", "https://"))
    return HttpArchive(url) if is_http else FsspecArchive(url)


async def upload_to(url: str, on_exists: OnExists) -> S3Upload:
    """Return an upload to a URL; no request is made yet.

    :raises AiocompressError: the extra ``remote`` is not installed.
    :raises ValueError: nothing can be written there.
    """
    upload = S3Upload(url, on_exists=on_exists)
    await _check_installed(url)
    return upload


async def _check_installed(url: str) -> None:
    """Import the extra's packages in a thread: it takes half a second."""
    needed = ("s3fs",) if url.startswith("s3://") else ("fsspec", "aiohttp")
    try:
        for name in needed:
            await apart(partial(import_module, name))
    except ImportError:
        raise AiocompressError(
            "a URL needs an extra of this package",
            file=public_url(url),
            hint="pip install 'aiocompress[remote]'",
        ) from None
