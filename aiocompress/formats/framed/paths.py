"""Paths of the ``framed`` container, read by each of its four variants."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

_CONTINUATIONS: Final = bytes(range(0x80, 0xC0))


class Variant(NamedTuple):
    """How lengths are stored: their byte order, and whether paths count characters or bytes."""

    order: Literal["big", "little"]
    characters: bool


OURS: Final = Variant("big", characters=False)
SCRIPT: Final = Variant("big", characters=True)
ALL: Final = (OURS, SCRIPT, OURS._replace(order="little"), SCRIPT._replace(order="little"))


class Found(NamedTuple):
    """A path as one variant reads it; ``end``: where its entry ends, in bytes of the buffer."""

    end: int
    name: str
    is_text: bool

    @property
    def is_clean(self) -> bool:
        """Whether it is a name such as most writers write."""
        return self.is_text and "\0" not in self.name


def path_end(data: memoryview, at: int, variant: Variant) -> int:
    """Return where the path that begins there ends, or, beyond ``data``, a lower bound for it."""
    start = at + 2
    count = int.from_bytes(data[at:start], variant.order)
    end = start + count
    if not (variant.characters and count):
        return end
    while end <= len(data):
        # Characters are counted by their first bytes.
        missing = count - len(bytes(data[start:end]).translate(None, _CONTINUATIONS))
        if not missing:
            return _character_end(data, start, end)
        end += missing
    return end


def _character_end(data: memoryview, start: int, end: int) -> int:
    """Return where the last character that begins before ``end`` ends."""
    first = end - 1
    while first > start and data[first] & 0xC0 == 0x80:
        first -= 1
    lead = data[first]
    return max(end, first + 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0))


def decoded(data: memoryview, at: int, end: int, variant: Variant) -> Found | None:
    """Return the path that stands there; None: it is empty, or not UTF-8 but counts characters."""
    name = bytes(data[at + 2 : end])
    if not name:
        return None
    try:
        return Found(end, name.decode(), is_text=True)
    except UnicodeDecodeError:
        if variant.characters:
            return None
    return Found(end, name.decode("utf-8", "surrogateescape"), is_text=False)
