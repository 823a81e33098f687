"""How what is finished gets its name, and what it takes after."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..model import OnExists


class Like(NamedTuple):
    """What a file or folder takes after another one; named as in ``os.stat_result``."""

    st_mode: int
    st_uid: int
    st_gid: int
    st_atime_ns: int
    st_mtime_ns: int


def hidden_name() -> str:
    """Return a name that nobody guesses, for what is not whole yet."""
    return f".aiocompress-{os.urandom(8).hex()}.tmp"


def exists(name: str, folder: int) -> bool:
    """Whether there is something of that name, a link that leads nowhere included."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def publish(temporary: str, name: str, folder: int, on_exists: OnExists) -> bool:
    """Give a finished file its name; returns whether it got it, or another one is there.

    :raises IsADirectoryError: a folder is there.
    """
    here = {"src_dir_fd": folder, "dst_dir_fd": folder}
    try:
        if on_exists == "replace":
            os.rename(temporary, name, **here)
            return True
        # Unlike a rename, a link never replaces a file.
        os.link(temporary, name, **here, follow_symlinks=False)
    except FileExistsError:
        os.unlink(temporary, dir_fd=folder)
        return False
    except OSError:
        os.unlink(temporary, dir_fd=folder)
        raise
    os.unlink(temporary, dir_fd=folder)
    return True


def publish_nameless(descriptor: int, name: str, folder: int, on_exists: OnExists) -> bool:
    """Give a name to a file that has none (``O_TMPFILE``); see ``publish``."""
    path, temporary = f"/proc/self/fd/{descriptor}", hidden_name()
    try:
        os.link(path, name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        if on_exists == "skip":
            return False
        os.link(path, temporary, dst_dir_fd=folder, follow_symlinks=True)
        return publish(temporary, name, folder, on_exists)
    return True


def take_after(descriptor: int, like: os.stat_result | Like) -> None:
    """Give a file or folder the mode, the times and, where permitted, the owner of another."""
    mode = like.st_mode & 0o777
    try:
        os.fchown(descriptor, like.st_uid, like.st_gid)
    except OSError:
        # Another group than the source's may not get what only that group could read.
        if os.fstat(descriptor).st_gid != like.st_gid:
            mode &= ~0o070
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))
