"""A door: folders, archives and compressed files over HTTP, for any ASGI application.

``FolderResponse``, ``MemberResponse`` and ``FileResponse`` are responses for applications of yours;
``app`` is one of its own, with pages, and ``serve`` runs it. Needs ``pip install
'aiocompress[web]'``. May import: ``api``, ``model``, ``errors`` and ``formats.names``.

    responses                   what is sent, from folders, members and files
    headers  sending  problems  what requests ask for; bodies on their way; errors as statuses
    app  guard  site            the application: what holds for all requests, and who answers which
    disk  inside  answers       answers about the disk, and about the inside of archives
    transform  upload           what clients send
    root  archives  browse      what is below the root, and in what order
    pages  preview  limits      what is seen; how much, and for how long
"""

from aiocompress.web.app import app
from aiocompress.web.responses import FileResponse, FolderResponse, MemberResponse

__all__ = ["FileResponse", "FolderResponse", "MemberResponse", "app"]
