"""What open archives keep of their files for the next reader: the least recently used goes first.

The slots lend the memory for it, and take it back as soon as anybody else needs it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    from aiocompress.workers.arena import Slots

T = TypeVar("T")
Place: TypeAlias = tuple[int, Hashable]
"""Whose value it is, and which one."""
_owners: Final = count()


class Kept:
    """The values of all shelves, in the order of their last use."""

    def __init__(self) -> None:
        self._values: OrderedDict[Place, tuple[Any, int]] = OrderedDict()
        self.size = 0
        """How many bytes they take."""

    def find(self, place: Place) -> Any:
        """Return a value; None: it is not kept."""
        found = self._values.get(place)
        if found is None:
            return None
        self._values.move_to_end(place)
        return found[0]

    def add(self, place: Place, value: object, size: int) -> None:
        """Keep a value that takes ``size`` bytes."""
        self._values[place] = value, size
        self.size += size

    def give_way(self, size: int) -> int:
        """Drop the oldest values, until they were ``size`` bytes; returns how many they were."""
        before = self.size
        while self._values and before - self.size < size:
            _, (_, freed) = self._values.popitem(last=False)
            self.size -= freed
        return before - self.size

    def forget(self, owner: int) -> int:
        """Drop all values of one owner; returns how many bytes they were."""
        before = self.size
        for place in [place for place in self._values if place[0] == owner]:
            self.size -= self._values.pop(place)[1]
        return before - self.size


class _Load:
    """A value that one task loads while others wait for it."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.value: Any = None


class Shelf:
    """What one archive keeps, until ``close``; of one that was forgotten, the values grow old.

    Where there is no memory to keep a value, the last such one stays here all the same, instead of
    any other: whoever reads a frame in small steps would have it decoded at each of them.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots, self._owner = slots, next(_owners)
        self._loads: dict[Hashable, _Load] = {}
        self._last: tuple[Hashable, Any, int] = None, None, 0
        self._is_open = True

    async def get(self, key: Hashable, load: Callable[[], Awaitable[tuple[T, int]]]) -> T:
        """Return the value of that key; if it is not kept, one task loads it for all who ask.

        :param load: returns the value, and how many bytes it takes.
        """
        value: T | None = self._find(key)
        if value is not None:
            return value
        shared = self._loads.setdefault(key, _Load())
        async with shared.turn:
            if shared.value is None:
                try:
                    shared.value, size = await load()
                    self._keep(key, shared.value, size)
                finally:  # whoever waits has it, or else tries for itself
                    self._loads.pop(key, None)
            loaded: T = shared.value
        return loaded

    def _find(self, key: Hashable) -> Any:
        if key == self._last[0]:
            return self._last[1]
        return self._slots.kept.find((self._owner, key))

    def _keep(self, key: Hashable, value: object, size: int) -> None:
        if not self._is_open or self._find(key) is not None:
            return
        if self._slots.lend(size):
            self._slots.kept.add((self._owner, key), value, size)
        else:
            self._last = key, value, size

    def close(self) -> None:
        """Drop everything, and keep nothing any more."""
        self._is_open = False
        freed = self._last[2]
        self._last = None, None, 0
        self._slots.free(freed)
        self._slots.return_lent(self._slots.kept.forget(self._owner))
