"""Parallel, bounded, async compression into standard, indexed files.

The house, from the roof down; each floor imports only what stands below it:

    __main__                  ``python -m aiocompress``
    cli | remote | sync       doors: the command line; members for fsspec; plain functions
    web                       a door, too: over HTTP; the command line opens it
    api                       what callers hold: Engine, functions, streams, files, archives
    verbs                     what one call does, out and back side by side
    storage                   files, folders and pipes of this machine; objects elsewhere
    workers | formats         who computes | bytes to bytes
    model                     plain values
    errors                    what can go wrong

``formats`` knows no file and no asyncio, ``workers`` no format and no verb.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiocompress.api import *  # noqa: F403
else:  # or a checker of types would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Import the public names when one of them is asked for.

        So the command line takes over Ctrl-C before the imports, which take most of its start.
        """
        api = import_module("aiocompress.api")
        if name == "__all__" or name in api.__all__:
            return getattr(api, name)
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


def __dir__() -> list[str]:
    return [*globals(), *import_module("aiocompress.api").__all__]
