"""``aiocompress serve``: the application on its own server, until Ctrl-C."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from aiocompress.api.engine import Engine
from aiocompress.model import printable
from aiocompress.web.app import app
from aiocompress.web.problems import ERRORS

_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_GRACE: Final = 1
"""Seconds that running answers have after the signal, before the server hangs up."""
_CLEANING: Final = 10
"""Seconds that their tasks then have to clean up."""
_MOST_CONNECTIONS: Final = 4096


def serve(
    root: str,
    host: str,
    port: int,
    *,
    writable: bool,
    engine: Engine,
    say: Callable[[str], None],
    verbose: bool = False,
) -> int | None:
    """Serve a folder until a signal comes.

    :param root: its path.
    :param host: an address or a name of this machine.
    :param port: 0: any free one.
    :param writable: whether files can be uploaded.
    :param say: tells the user the address, and warns about it.
    :param verbose: log each request, and tracebacks.
    :returns: the signal.
    :raises OSError: the folder cannot be read, or the port is taken.
    """
    os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY))
    _allow_descriptors()
    listening = _listening(host, port)
    with listening:
        address, port = listening.getsockname()[:2]
        is_local = ipaddress.ip_address(address).is_loopback
        name = f"[{address}]" if ":" in address else address
        say(
            f"{root}: at http://{name}:{port}/ until Ctrl-C{', for reading and writing' * writable}"
        )
        if not is_local:
            say(
                "warning: others on the network can read this folder"
                f"{' and write into it' * writable}: there is no password, and no encryption"
            )
        config = uvicorn.Config(
            app(
                root,
                engine=engine,
                writable=writable,
                allowed_hosts={*_LOCAL_NAMES, host} if is_local else None,
            ),
            log_level="info" if verbose else "error",
            access_log=verbose,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE + _CLEANING,
        )
        if not verbose:
            logging.getLogger("uvicorn.error").addFilter(_brief)
        return _run(_Server(config), listening, engine)


def _brief(record: logging.LogRecord) -> bool:
    """Log in one line, without a traceback, that a bad file or body broke an answer off."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ERRORS):
        record.msg, record.exc_info = f"an answer broke off: {printable(str(error))}", None
    return True


class _Server(uvicorn.Server):
    """A server that hangs up at the end, so that tasks see their clients leave, and clean up.

    uvicorn itself would cancel the tasks, even in the middle of cleaning up, and report each.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(_GRACE, self._hang_up)
        await super().shutdown(sockets)

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            transport = connection.transport
            if transport is not None:
                transport.abort()


def _run(server: uvicorn.Server, listening: socket.socket, engine: Engine) -> int | None:
    """Run the server; uvicorn raises the signals that ended it again, which must not kill us yet.

    :returns: the first of them.
    """
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        ended.append(number)
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        server.run(sockets=[listening])
    finally:
        engine.close()
    return ended[0] if ended else None


def _allow_descriptors() -> None:
    """Raise the soft limit so that each connection can have a socket, a file and its folder."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * _MOST_CONNECTIONS
    if 0 <= soft < wanted:
        soft = wanted if hard < 0 else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _listening(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), f"{host}:{port}") from None
