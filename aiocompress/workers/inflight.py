"""A chunk in flight: its slot, who works on it, and its outcome.

Cancelling the wait for a chunk does not stop its worker, which goes on writing into the slot. So
the worker, not the stream, decides when a slot is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from aiocompress.model import Buffer
from aiocompress.workers.arena import Slot
from aiocompress.workers.job import Extents, Parcel, Result

if TYPE_CHECKING:
    from aiocompress.workers.process import Workers


_Call: TypeAlias = tuple[Any, ...]
"""A function, and what it is called with."""


class Job:
    """One chunk in flight: its slot, the function that a worker runs on it, and its outcome.

    :param used: bytes of the input.
    :param alone: no other job runs beside it, so a thread will do.
    :param detach: free the slot as soon as the worker is done; the job keeps a copy of the output,
        and with ``keep_input`` one of the input.
    :param extents: what of the input is there already; None: all.
    """

    def __init__(
        self,
        slot: Slot,
        used: int,
        function: Callable[..., Result],
        arguments: tuple[Any, ...],
        *,
        alone: bool = False,
        detach: bool = False,
        keep_input: bool = False,
        extents: Extents | None = None,
    ) -> None:
        self.slot, self.used = slot, used
        self._function, self._arguments, self._extents = function, arguments, extents
        self.alone, self.detach, self._keep_input = alone, detach, keep_input
        self.released = False
        self.attempts = 0
        self.runs_on: Workers | None = None
        loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Result] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        """Done when the worker is done, even if nobody waits for the outcome any more."""
        self._copies: tuple[bytes, bytes] | None = None
        self.kept = 0
        """Bytes of the copies that a detached job keeps outside of the slot."""
        self._freed = False

    def for_process(self) -> _Call:
        """Say what a worker process of ours has to call."""
        return self._function, self.slot.place(self.used), *self._arguments

    def for_thread(self) -> _Call:
        """Say what a thread has to call."""
        room = None if self.detach else self.slot.output
        return self._function, (self.slot.input[: self.used], room), *self._arguments

    def for_another(self) -> _Call:
        """Say what a worker of the caller's executor has to call, perhaps on another machine."""
        view, extents = self.slot.input, self._extents
        extents = ((0, self.used),) if extents is None else extents
        parts = tuple((start, bytes(view[start : start + size])) for start, size in extents)
        return Parcel.run, Parcel(self._function, self.used, parts, self._arguments)

    async def result(self) -> Result:
        """Wait for the outcome; cancelling the wait does not stop the worker."""
        return await self._outcome

    @property
    def input(self) -> Buffer:
        """What the worker was given."""
        return self._copies[0] if self._copies is not None else self.slot.input[: self.used]

    @property
    def data(self) -> Buffer:
        """What the worker made."""
        if self._copies is not None:
            return self._copies[1]
        return self.slot.view(self._outcome.result())

    def settle(self, outcome: Result | BaseException) -> None:
        """Take the outcome. The worker is done with the slot."""
        if self._outcome.cancelled():
            pass  # nobody waits any more
        elif isinstance(outcome, BaseException):
            self._outcome.set_exception(outcome)
            self._outcome.exception()  # seen: asyncio would log it if nobody waits
        else:
            self._outcome.set_result(outcome)
        self.over.set_result(None)
        if self.released:
            self._free()
        elif self.detach and not self._outcome.cancelled():
            self._copies = self._copied(outcome)
            self.kept = sum(map(len, self._copies))
            self.slot.slots.keep(self.kept)
            self._free()

    def _copied(self, outcome: Result | BaseException) -> tuple[bytes, bytes]:
        decoded = isinstance(outcome, Result) and outcome.size >= 0
        kept = self._keep_input or not decoded
        given = bytes(self.slot.input[: self.used]) if kept else b""
        if not (isinstance(outcome, Result) and decoded) or outcome.written:
            return given, b""
        made = outcome.data
        return given, made if isinstance(made, bytes) else bytes(self.slot.view(outcome))

    def release(self) -> None:
        """Give the job up; its slot is free once the worker is done."""
        if self._copies is not None and not self.released:
            self._copies = b"", b""
            self.slot.slots.drop(self.kept)
        self.released = True
        if self.over.done():
            self._free()

    def _free(self) -> None:
        if not self._freed:
            self._freed = True
            self.slot.free()
