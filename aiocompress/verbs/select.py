"""Which members of an archive the caller wants: by name, by folder, by pattern."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Final

from aiocompress.errors import MemberNotFoundError
from aiocompress.formats.tar.header import to_bytes, to_text

_MOST_CLOSE: Final = 3
_MOST_COMPARED: Final = 20_000
_SLASH: Final = b"/"[0]
_WILD: Final = re.compile(r"[*?\[]")


class Selection:
    """Members by name or shell pattern; a folder stands for everything in it. None: all members.

    It remembers which names were found, and others that are close to those that were not.
    """

    def __init__(self, patterns: Iterable[str] | None = None) -> None:
        self.is_all = patterns is None
        self._names = {plain(to_bytes(name)): name for name in patterns or ()}
        self._missing = set(self._names)
        self._patterns = {
            name: re.compile(to_bytes(translate(to_text(name))))
            for name in self._names
            if _WILD.search(to_text(name))
        }
        self._seen: dict[str, None] = {}

    def wants(self, name: bytes) -> bool:
        """Whether the caller wants a member."""
        if self.is_all:
            return True
        name = plain(name)
        found = [given for given in self._names if self._matches(given, name)]
        self._missing.difference_update(found)
        if not found and self._missing and len(self._seen) < _MOST_COMPARED:
            self._seen[name.decode("utf-8", "replace")] = None
        return bool(found)

    def _matches(self, given: bytes, name: bytes) -> bool:
        if name == given or name.startswith(given + b"/"):
            return True
        pattern = self._patterns.get(given)
        if pattern is None:
            return False
        ends = (at for at, byte in enumerate(name) if byte == _SLASH)
        return bool(pattern.match(name)) or any(pattern.match(name[:end]) for end in ends)

    def mask(self, names: list[bytes]) -> bytes | None:
        """Return a byte for each name, 1 if it is wanted; None: all are."""
        return None if self.is_all else bytes(map(self.wants, names))

    def check_found(self) -> None:
        """Make sure that each name or pattern matched a member.

        :raises MemberNotFoundError: one matched nothing.
        """
        for given in sorted(self._missing):
            raise not_found(self._names[given], self._seen)


def plain(name: bytes) -> bytes:
    """Return a name as users type it."""
    return name.removeprefix(b"./").strip(b"/")


def not_found(name: str, names: Iterable[str]) -> MemberNotFoundError:
    """Return an error that suggests the closest names."""
    known = list(names)
    base = name.rpartition("/")[2].casefold()
    close = [other for other in known if other.rpartition("/")[2].casefold() == base]
    close = close[:_MOST_CLOSE] or difflib.get_close_matches(name, known[:2000], _MOST_CLOSE)
    hint = f"closest: {', '.join(close)}" if close else "list shows what there is"
    return MemberNotFoundError(f"no member {name!r}", hint=hint)
