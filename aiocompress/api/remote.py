"""Objects elsewhere as callers hold them; with the extra ``remote``."""

from aiocompress.storage.remote.http import HttpArchive
from aiocompress.storage.remote.stores import FsspecArchive
from aiocompress.storage.remote.upload import S3Upload

__all__ = ["FsspecArchive", "HttpArchive", "S3Upload"]
