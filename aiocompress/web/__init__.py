"""A door: folders, archives and compressed files over HTTP, for any ASGI application.

``FolderResponse``, ``MemberResponse`` and ``FileResponse`` are responses for your own application;
``app`` is a complete one, with pages, and ``serve`` runs it. Needs ``pip install
'aiocompress[web]'``. May import: ``api``, ``model``, ``errors`` and ``formats.names``.

    responses                   responses from folders, members and files
    headers  sending  problems  request headers; sending a body; errors as statuses
    app  guard  site            the application: checks on every request, and routing
    asked  disk  inside         a request; answers from the disk, and from inside archives
    answers  transform  upload  what both answers share; bodies that clients send
    root  archives  browse      finding what is below the root; open archives; rows of a page
    pages  preview  limits      pages and previews; limits on bytes, streams and time
"""

from aiocompress.web.app import app
from aiocompress.web.responses import FileResponse, FolderResponse, MemberResponse

__all__ = ["FileResponse", "FolderResponse", "MemberResponse", "app"]
