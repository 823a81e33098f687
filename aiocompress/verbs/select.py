"""Which members of an archive the caller wants: by name, by folder, by pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from heapq import heappush, heapreplace
from itertools import pairwise
from typing import Final

from aiocompress.errors import MemberNotFoundError
from aiocompress.formats.tar.header import to_bytes, to_text
from aiocompress.storage.restorer import parts_of

_MOST_TOLD: Final = 3
_MOST_COMPARED: Final = 50
_CLOSE: Final = 0.6
"""How similar names have to be, from 0 to 1."""
_LONGEST: Final = 256
"""The bytes that are compared of a name."""
_LONGEST_PATH: Final = 4096
_SLASH: Final = b"/"[0]
_WILD: Final = re.compile(r"[*?\[]")


class Selection:
    """Members by name or shell pattern; a folder stands for everything in it. None: all members.

    It remembers which of them were found.

    :param strip: how many parts of a name are left out: a member that has no more is not wanted.
    :param inside: only what is in this folder of the archive; "": anything.
    """

    def __init__(
        self, patterns: Iterable[str] | None = None, strip: int = 0, inside: str = ""
    ) -> None:
        self.inside = plain(to_bytes(inside)) + b"/" if plain(to_bytes(inside)) else b""
        """What the names of all these members begin with."""
        self.is_all, self.strip = patterns is None and not self.inside, strip
        self._any = patterns is None
        self.wrapper: bytes | None = None
        """The folder that all members stand below, wanted or not, as far as they were looked at."""
        self._names = {plain(to_bytes(name)): name for name in patterns or ()}
        self._missing = set(self._names)
        self._patterns = {
            name: re.compile(to_bytes(translate(to_text(name))))
            for name in self._names
            if _WILD.search(to_text(name))
        }

    def wants(self, name: bytes) -> bool:
        """Whether the caller wants a member."""
        self._look([name])
        return self._is_deep(name) and (self.is_all or self._is_named(plain(name)))

    def _is_deep(self, name: bytes) -> bool:
        return not self.strip or len(parts_of(name)) > self.strip

    def _is_named(self, name: bytes) -> bool:
        if not name.startswith(self.inside):
            return False
        if self._any:
            return True
        found = [given for given in self._names if self._matches(given, name)]
        self._missing.difference_update(found)
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
        if self.is_all and not self.strip:
            self._look(names)
            return None
        return bytes(map(self.wants, names))

    def _look(self, names: list[bytes]) -> None:
        """Give the wrapper up as soon as a member stands elsewhere."""
        if (wrapper := self.wrapper) is not None:
            inside = wrapper + b"/"
            for name in names:
                if self.strip or not name.startswith(inside):
                    parts = [part for part in parts_of(name)[self.strip :] if part != b"."]
                    if parts[:1] not in ([wrapper], []):
                        self.wrapper = None

    @property
    def missing(self) -> str | None:
        """A name or pattern that has matched no member; None: each has."""
        return self._names[min(self._missing)] if self._missing else None


def plain(name: bytes) -> bytes:
    """Return a name as users type it."""
    return name.removeprefix(b"./").strip(b"/")


class Closest:
    """The names that are closest to one that is missing, of any number: memory stays bounded.

    Names are compared by the pairs of letters that they share, which is fast enough for all names
    of a large archive, and only the few that share most of them letter by letter.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._folded = _folded(plain(to_bytes(name)))
        self._pairs = frozenset(pairwise(self._folded))
        self._base = _base(self._folded)
        self._best: list[tuple[bool, int, int, bytes]] = []

    def add(self, names: Iterable[bytes]) -> None:
        """Look at more names."""
        for name in names:
            if len(name) > _LONGEST_PATH:
                continue
            folded = _folded(name)
            shared = len(self._pairs.intersection(pairwise(folded)))
            row = (_base(folded) == self._base, shared, -len(folded), name)
            if len(self._best) < _MOST_COMPARED:
                heappush(self._best, row)
            elif row > self._best[0]:
                heapreplace(self._best, row)

    def error(self) -> MemberNotFoundError:
        """Return an error that suggests the closest names."""
        from difflib import SequenceMatcher  # only where a name was not found

        match: SequenceMatcher[int]
        match = SequenceMatcher(None, b"", self._folded, autojunk=False)
        ranked = {}
        for same_base, *_, name in self._best:
            match.set_seq1(_folded(name))
            ranked[name] = same_base, match.ratio()
        close = [name for name, (same_base, ratio) in ranked.items() if same_base or ratio > _CLOSE]
        close.sort(key=ranked.__getitem__, reverse=True)
        texts = [plain(name).decode("utf-8", "replace") for name in close[:_MOST_TOLD]]
        hint = f"closest: {', '.join(texts)}" if texts else "members() tells what there is"
        return MemberNotFoundError(f"no member {self._name!r}", hint=hint)


def _folded(name: bytes) -> bytes:
    """Return what is compared of a name: its end, in lower case."""
    return name[-_LONGEST:].lower().strip(b"/")


def _base(name: bytes) -> bytes:
    return name[name.rfind(b"/") + 1 :]
