"""The arena: slots of any size, first come first served, and nothing is ever given out twice."""

from __future__ import annotations

import asyncio
import errno
import itertools
import mmap
import os
import pickle
import resource
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aiocompress.errors import LimitError
from aiocompress.workers.arena import Arena, Slot, Slots

PAGE = mmap.PAGESIZE


def offset(slot: Slot) -> int:
    """Where in the arena a slot begins."""
    place = slot.place(0)
    assert isinstance(place[0], int)
    return place[0]


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def start(slots: Slots, size: int) -> asyncio.Task[Slot]:
    """Begin to take a slot of that many bytes."""
    return asyncio.ensure_future(slots.take(64, size - 64))


# Sizes.


@given(size=st.integers(1, 1 << 24), output=st.integers(0, 1 << 24))
def test_sizes_are_rounded(size: int, output: int) -> None:
    """A slot takes whole pages, never less than was asked for, and at most an eighth more."""
    slots = Slots(4, 1 << 26)
    room = slots.check(size, output)
    assert room % PAGE == 0
    assert size + output <= room < size + output + max(PAGE, (size + output) // 8 + 1)


@given(size=st.integers(1, 1 << 20), more=st.integers(0, 1 << 20))
def test_sizes_grow_with_what_is_asked_for(size: int, more: int) -> None:
    """Who asks for more never gets less."""
    slots = Slots(4, 1 << 22)
    assert slots.check(size, 0) <= slots.check(size + more, 0)


def test_about_the_same_size_is_the_same() -> None:
    """Slots of about the same size take the same pages."""
    slots = Slots(4, 1 << 26)
    assert len({slots.check(size, 5) for size in range(1_000_000, 1_030_000, 100)}) <= 2


def test_rounding_stops_at_the_arena() -> None:
    """A slot as large as the arena fits, though its size would be rounded up beyond it."""
    size = 33 * PAGE
    slots = Slots(1, size)
    assert slots.check(size, 0) == slots.check(size - PAGE + 1, 0) == slots.arena.size == size


@pytest.mark.parametrize("limit", [1, PAGE - 1, PAGE, PAGE + 1, 10 * PAGE + 5])
def test_arena_is_whole_pages(limit: int) -> None:
    """The arena keeps to its limit, but has a page at least."""
    arena = Slots(3, limit).arena
    assert arena.size == len(arena.view) == max(PAGE, limit // PAGE * PAGE)


def test_largest_fits_that_often() -> None:
    """``total`` slots of the largest size that is named fit at the same time."""
    slots = Slots(3, 10 * PAGE)
    assert slots.largest == 3 * PAGE


async def test_views() -> None:
    """A slot has at least the room that was asked for, in two parts that begin where it says."""
    slots = Slots(2, 64 * PAGE)
    for _ in range(2):
        slot = await slots.take(100, 5000)
        assert len(slot.input) >= 100
        assert len(slot.input) % 64 == 0
        assert len(slot.output) >= 5000
        place = slot.place(70)
        assert place == (offset(slot), 70, offset(slot) + len(slot.input), len(slot.output))
        slot.input[:] = b"i" * len(slot.input)
        slot.output[:] = b"o" * len(slot.output)
        start, used, room, room_size = place
        assert isinstance(start, int)
        assert isinstance(room, int)
        assert bytes(slots.arena.view[start:][:used]) == b"i" * used
        assert bytes(slots.arena.view[room:][:room_size]) == b"o" * len(slot.output)


async def test_views_end_with_the_slot() -> None:
    """What was given back can neither be read nor written any more."""
    slot = await Slots(1, PAGE).take(10, 10)
    slot.free()
    for view in (slot.input, slot.output):
        with pytest.raises(ValueError, match="released"):
            view[0] = 1


# Limits.


async def test_too_large_for_the_arena() -> None:
    """One that never fits is an error that says what to do, and costs nothing."""
    slots = Slots(2, 8 * PAGE)
    with pytest.raises(LimitError, match=f"needs {9 * PAGE} bytes.*limit is {8 * PAGE}") as caught:
        await slots.take(8 * PAGE, 1)
    assert caught.value.hint is not None
    assert "memory_limit" in caught.value.hint
    with pytest.raises(LimitError):
        slots.check(8 * PAGE, 1)
    assert (slots.in_use, slots.memory_in_use, slots.peak, slots.memory_peak) == (0, 0, 0, 0)
    (await slots.take(4 * PAGE, 4 * PAGE)).free()


async def test_number_is_bounded() -> None:
    """No more than ``total`` slots are out, however much memory is left."""
    slots = Slots(2, 64 * PAGE)
    first, second = await slots.take(1, 1), await slots.take(1, 1)
    third = start(slots, PAGE)
    await settled()
    assert not third.done()
    assert slots.in_use == slots.peak == 2
    first.free()
    (await third).free()
    second.free()
    assert (slots.in_use, slots.peak) == (0, 2)


async def test_counts() -> None:
    """Slots and bytes in use are counted, and so are the most of each."""
    slots = Slots(4, 64 * PAGE)
    first = await slots.take(64, 2 * PAGE - 64)
    second = await slots.take(64, 3 * PAGE - 64)
    assert (slots.in_use, slots.memory_in_use) == (2, 5 * PAGE)
    first.free()
    second.free()
    assert (slots.in_use, slots.memory_in_use) == (0, 0)
    assert (slots.peak, slots.memory_peak) == (2, 5 * PAGE)


# Turns.


async def test_first_come_first_served() -> None:
    """A small one that would fit waits behind a large one that does not fit yet."""
    slots = Slots(9, 8 * PAGE)
    held = await slots.take(64, 4 * PAGE - 64)
    large, small = start(slots, 6 * PAGE), start(slots, PAGE)
    await settled()
    assert not large.done()
    assert not small.done()
    held.free()
    await settled()
    assert large.done()
    assert small.done()
    assert offset(large.result()) < offset(small.result())


async def test_low_pages_are_used_again() -> None:
    """Memory that was touched is taken first: one slot after another is the same one."""
    slots = Slots(4, 64 * PAGE)
    places = set()
    for _ in range(20):
        slot = await slots.take(64, 2 * PAGE - 64)
        places.add(offset(slot))
        slot.free()
    assert places == {0}
    held = [await slots.take(64, PAGE - 64) for _ in range(4)]
    held[1].free()
    held[2].free()
    assert offset(await slots.take(64, PAGE - 64)) == PAGE
    assert offset(await slots.take(64, PAGE - 64)) == 2 * PAGE


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))], ids=str)
async def test_free_neighbours_join(order: tuple[int, ...]) -> None:
    """In whatever order slots come back, all of the memory is one piece in the end."""
    slots = Slots(5, 8 * PAGE)
    held = [await slots.take(64, 2 * PAGE - 64) for _ in range(4)]
    whole = start(slots, 8 * PAGE)
    for number in order:
        await settled()
        assert not whole.done()
        held[number].free()
    await settled()
    assert offset(whole.result()) == 0


# Cancellation.


async def test_cancelled_while_it_waits() -> None:
    """One that gives up takes nothing with it, and whoever stood behind it moves up at once."""
    slots = Slots(9, 8 * PAGE)
    held = await slots.take(64, 4 * PAGE - 64)
    large, small = start(slots, 6 * PAGE), start(slots, PAGE)
    await settled()
    large.cancel()
    await settled()
    assert large.cancelled()
    assert small.done()
    assert slots.memory_in_use == 5 * PAGE
    small.result().free()
    held.free()
    assert (slots.in_use, slots.memory_in_use) == (0, 0)


async def test_cancelled_when_it_was_served() -> None:
    """One that gives up after its turn has come, before it knows, gives its slot to the next."""
    slots = Slots(1, 8 * PAGE)
    held = await slots.take(64, 64)
    first, second = start(slots, PAGE), start(slots, PAGE)
    await settled()
    held.free()
    first.cancel()
    await settled()
    assert first.cancelled()
    assert second.done()
    assert slots.in_use == 1
    second.result().free()
    assert (slots.in_use, slots.memory_in_use) == (0, 0)


async def test_all_cancelled() -> None:
    """When all give up at once, everything is free again."""
    slots = Slots(1, 8 * PAGE)
    held = await slots.take(64, 64)
    waiting = [start(slots, PAGE) for _ in range(10)]
    await settled()
    held.free()
    for task in waiting:
        task.cancel()
    await settled()
    assert all(task.cancelled() for task in waiting)
    assert (slots.in_use, slots.memory_in_use) == (0, 0)
    assert offset(await slots.take(64, 8 * PAGE - 64)) == 0


# All of it at random, beside a model that knows pages and a queue.

PAGES = 16


@dataclass(eq=False)
class Asked:
    """Somebody who wants a slot; ``at`` is the page where the model gives it to him."""

    pages: int
    task: asyncio.Task[Slot]
    at: int = -1


class SlotsMachine(RuleBasedStateMachine):
    """Slots are taken, freed and given up; the model gives the first run of free pages."""

    @initialize(total=st.integers(1, 5))
    def begin(self, total: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.slots = Slots(total, PAGES * PAGE)
        self.total, self.peak, self.most = total, 0, 0
        self.used = [False] * PAGES
        self.held: list[Asked] = []
        self.waiting: deque[Asked] = deque()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    # The model.

    def serve(self) -> None:
        while self.waiting and len(self.held) < self.total:
            asked = self.waiting[0]
            places = range(PAGES - asked.pages + 1)
            free = (at for at in places if not any(self.used[at : at + asked.pages]))
            asked.at = next(free, -1)
            if asked.at < 0:
                return
            self.mark(asked, used=True)
            self.held.append(self.waiting.popleft())
            self.peak = max(self.peak, len(self.held))
            self.most = max(self.most, sum(self.used))

    def mark(self, asked: Asked, *, used: bool) -> None:
        self.used[asked.at : asked.at + asked.pages] = [used] * asked.pages

    def give_back(self, asked: Asked) -> None:
        self.mark(asked, used=False)
        self.held.remove(asked)
        self.serve()

    def give_up(self, asked: Asked) -> None:
        if asked in self.held:
            self.give_back(asked)
        else:
            self.waiting.remove(asked)
            self.serve()

    # What happens.

    @rule(pages=st.integers(1, PAGES))
    def take(self, pages: int) -> None:
        async def act() -> None:
            size = self.slots.check(64, pages * PAGE - 64)
            asked = Asked(size // PAGE, start(self.slots, pages * PAGE))
            await settled()
            self.waiting.append(asked)
            self.serve()

        self.run(act())

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        async def act() -> None:
            asked.task.result().free()
            await settled()

        asked = data.draw(st.sampled_from(self.held))
        self.run(act())
        self.give_back(asked)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        async def act() -> None:
            asked.task.cancel()
            await settled()

        asked = data.draw(st.sampled_from(list(self.waiting)))
        self.run(act())
        assert asked.task.cancelled()
        self.give_up(asked)

    @precondition(lambda self: self.held and self.waiting)
    @rule(data=st.data())
    def free_and_cancel(self, data: st.DataObject) -> None:
        """The turn of one that gives up may have come already."""

        async def act() -> None:
            asked.task.result().free()
            for one in leaving:
                one.task.cancel()
            await settled()

        asked = data.draw(st.sampled_from(self.held))
        some = st.lists(st.sampled_from(list(self.waiting)), min_size=1, max_size=3, unique_by=id)
        leaving = data.draw(some)
        self.run(act())
        assert all(one.task.cancelled() for one in leaving)
        self.give_back(asked)
        served = [one for one in leaving if one in self.held]
        for one in leaving:  # these leave the queue before the others give anything back
            if one not in served:
                self.waiting.remove(one)
        for one in served:
            self.give_back(one)
        self.serve()

    @invariant()
    def agrees(self) -> None:
        assert not any(asked.task.done() for asked in self.waiting)
        for asked in self.held:
            slot = asked.task.result()
            assert offset(slot) == asked.at * PAGE
            assert len(slot.input) + len(slot.output) == asked.pages * PAGE
        slots = self.slots
        assert (slots.in_use, slots.memory_in_use) == (len(self.held), sum(self.used) * PAGE)

    def teardown(self) -> None:
        async def act() -> None:
            for asked in self.waiting:
                asked.task.cancel()
            await settled()
            for asked in self.held:
                asked.task.result().free()

        if not hasattr(self, "loop"):
            return
        self.run(act())
        self.loop.close()
        assert (self.slots.in_use, self.slots.memory_in_use) == (0, 0)
        self.slots.arena.close()


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


# The memory itself.


def test_where_no_file_may_be_that_large() -> None:
    """A limit of file sizes leaves memory for this process alone, which nobody else can map."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, before[1]))
    try:
        arena = Arena(4 * PAGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    arena.view[-1] = 7
    with pytest.raises(OSError, match="no memory can be shared") as caught:
        pickle.dumps(arena)
    assert caught.value.errno == errno.ENOMEM
    arena.close()


def test_memory_goes_with_the_last_view() -> None:
    """Closing gives the descriptor back at once; what is still looked at stays."""
    before = set(os.listdir("/proc/self/fd"))
    arena = Arena(PAGE)
    arena.view[:3] = b"abc"
    arena.close()
    assert bytes(arena.view[:3]) == b"abc"
    view = arena.view
    del arena
    assert bytes(view[:3]) == b"abc"
    view.release()
    assert set(os.listdir("/proc/self/fd")) <= before


# What is lent.


def test_lending() -> None:
    """A quarter of the limit can be lent, and no more than slots leave."""
    slots = Slots(4, 64 * PAGE)
    assert not slots.lend(16 * PAGE + 1)
    assert slots.lend(16 * PAGE)
    assert not slots.lend(1)
    slots.return_lent(PAGE)
    assert slots.lend(PAGE)


async def test_slots_and_loans_share_the_limit() -> None:
    """A slot waits for what was lent, unless nothing else is in flight; and the other way round."""
    slots = Slots(4, 64 * PAGE)
    assert slots.lend(16 * PAGE)
    large = await slots.take(64, 60 * PAGE - 64)  # whatever readers do, work goes on
    large.free()
    first = await slots.take(64, 40 * PAGE - 64)
    waiting = start(slots, 16 * PAGE)
    await settled()
    assert not waiting.done()
    slots.return_lent(8 * PAGE)
    second = await waiting
    assert slots.memory_in_use + slots.lent == 64 * PAGE
    assert not slots.lend(1)
    first.free()
    second.free()
    assert slots.lend(PAGE)


# Chunks that take seconds.


async def test_slow_chunks_leave_a_slot() -> None:
    """They have all slots but one; those that wait keep nobody else waiting."""
    slots = Slots(3, 64 * PAGE)
    slow = [await slots.take(64, 64, slow=True) for _ in range(2)]
    waiting = [asyncio.ensure_future(slots.take(64, 64, slow=True)) for _ in range(2)]
    await settled()
    quick = await slots.take(64, 64)
    another = start(slots, PAGE)
    await settled()
    assert not any(task.done() for task in (*waiting, another))
    quick.free()
    (await another).free()
    await settled()
    assert not any(task.done() for task in waiting)
    slow.pop().free()
    slow.append(await waiting.pop(0))
    for slot in slow:
        slot.free()
    (await waiting.pop()).free()
    assert (slots.in_use, slots.memory_in_use) == (0, 0)


async def test_a_single_slot_is_for_slow_chunks_too() -> None:
    """Where there is only one, they have it."""
    slots = Slots(1, 64 * PAGE)
    (await slots.take(64, 64, slow=True)).free()


# Who gets a slot.


async def _served(slots: Slots, *who: str) -> list[str]:
    """Have them all wait for the only slot; returns in which order they got it."""
    order: list[str] = []

    async def take(name: str) -> None:
        slot = await slots.take(PAGE, 0, new=name == "new")
        order.append(name)
        slot.free()

    first = await slots.take(PAGE, 0)
    tasks = [asyncio.create_task(take(name)) for name in who]
    await asyncio.sleep(0)
    assert not order
    first.free()
    await asyncio.gather(*tasks)
    return order


async def test_new_streams_get_an_eighth() -> None:
    """However many come at once, the others are hardly held up, and nobody waits for ever."""
    order = await _served(Slots(1, 64 * PAGE), *["new"] * 100, *["old"] * 35)
    assert order[:40] == [*["old"] * 7, "new"] * 5
    assert order[40:] == ["new"] * 95


async def test_new_streams_alone_get_all() -> None:
    """What nobody else wants is theirs; they owe nothing for it afterwards."""
    slots = Slots(1, 64 * PAGE)
    first = await slots.take(PAGE, 0, new=True)
    first.free()
    assert await _served(slots, *["new"] * 20) == ["new"] * 20
    assert await _served(slots, "new", *["old"] * 9) == [*["old"] * 7, "new", *["old"] * 2]


async def test_a_new_stream_that_is_cancelled() -> None:
    """It gives up its place in the queue."""
    slots = Slots(1, 64 * PAGE)
    first = await slots.take(PAGE, 0)
    waiting = asyncio.create_task(slots.take(PAGE, 0, new=True))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    first.free()
    assert await _served(slots, "old", "new") == ["old", "new"]
    assert slots.in_use == 0
