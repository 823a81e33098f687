"""Items in order: run ahead within a window, and released however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.model import MIB
from aiocompress.workers.arena import Slots
from aiocompress.workers.pipeline import Window, in_order


class Item:
    """Something that has to be released, once."""

    def __init__(self, number: int, belt: Belt) -> None:
        self.number, self._belt = number, belt

    def release(self) -> None:
        self._belt.released.append(self.number)


class Belt:
    """A producer: it notes what it made, what came back, and whether it was closed."""

    def __init__(
        self, number: int, error: BaseException | None = None, pauses: tuple[int, ...] = (0,)
    ) -> None:
        self.number, self._error, self._pauses = number, error, pauses
        self.made: list[int] = []
        self.released: list[int] = []
        self.most = 0
        self.began = self.closed = False

    async def items(self) -> AsyncGenerator[Item]:
        self.began = True
        try:
            for number in range(self.number):
                await pause(self._pauses[number % len(self._pauses)])
                self.made.append(number)
                self.most = max(self.most, len(self.made) - len(self.released))
                yield Item(number, self)
            if self._error is not None:
                raise self._error
        finally:
            try:
                await pause(2)  # it takes its time to close, and may be cancelled meanwhile
            finally:
                self.closed = True

    def check(self, window: int) -> None:
        """All that was made has come back, once, and never was more out than the window."""
        assert sorted(self.released) == self.made
        assert self.most <= window
        assert self.closed or not self.began


async def pause(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def consume(
    belt: Belt, window: int, found: list[int], pauses: tuple[int, ...] = (0,)
) -> None:
    async with aclosing(in_order(belt.items(), window)) as items:
        async for item in items:
            found.append(item.number)
            assert item.number not in belt.released
            await pause(pauses[item.number % len(pauses)])


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(0, 12),
    window=st.integers(1, 5),
    slow=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
    slower=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
)
def test_order_and_window(
    number: int, window: int, slow: tuple[int, ...], slower: tuple[int, ...]
) -> None:
    """Whoever is slow, all items come in order, and at most ``window`` are not released."""
    belt, found = Belt(number, pauses=slow), list[int]()
    asyncio.run(consume(belt, window, found, slower))
    assert found == belt.made == belt.released == list(range(number))
    belt.check(window)


@pytest.mark.parametrize("window", [1, 2, 5])
async def test_runs_ahead(window: int) -> None:
    """While the consumer works on an item, the producer fills the window, and then waits."""
    belt = Belt(20)
    async with aclosing(in_order(belt.items(), window)) as items:
        for number in range(3):
            assert (await anext(items)).number == number
            await pause(50)
            assert len(belt.made) == number + window
    belt.check(window)


async def test_nothing_before_it_is_asked_for() -> None:
    """The producer starts with the consumer."""
    belt = Belt(3)
    items = in_order(belt.items(), 2)
    await pause(20)
    assert not belt.began
    await items.aclose()


async def test_released_when_the_next_is_asked_for() -> None:
    """An item is the consumer's until it asks for the next one."""
    belt = Belt(3)
    async with aclosing(in_order(belt.items(), 3)) as items:
        await anext(items)
        await pause(20)
        assert belt.released == []
        await anext(items)
        assert belt.released == [0]


@pytest.mark.parametrize("window", [1, 3, 10])
@pytest.mark.parametrize("number", [0, 1, 4])
async def test_error_in_its_turn(number: int, window: int) -> None:
    """What was made before an error comes first, then the error."""
    error = OSError("broken")
    belt, found = Belt(number, error), list[int]()
    with pytest.raises(OSError, match="broken") as caught:
        await consume(belt, window, found, (5,))
    assert caught.value is error
    assert found == list(range(number))
    belt.check(window)


async def test_producer_that_is_cancelled() -> None:
    """A cancellation that comes from below ends the consumer as well, and does not hang it."""
    belt, found = Belt(2, asyncio.CancelledError()), list[int]()
    with pytest.raises(asyncio.CancelledError):
        await consume(belt, 3, found)
    assert found == [0, 1]
    belt.check(3)


async def test_consumer_fails() -> None:
    """An error of the consumer's releases its item and all behind it."""
    belt = Belt(9)

    async def fail() -> None:
        async with aclosing(in_order(belt.items(), 4)) as items:
            async for item in items:
                await pause(20)
                if item.number == 2:
                    raise KeyError(item.number)

    with pytest.raises(KeyError):
        await fail()
    assert len(belt.made) == 6
    belt.check(4)


@pytest.mark.parametrize("taken", range(6))
@pytest.mark.parametrize("turns", [0, 1, 2, 30])
async def test_closed_early(taken: int, turns: int) -> None:
    """Closing at any item releases what was made ahead, and closes the producer."""
    belt = Belt(5)
    items = in_order(belt.items(), 3)
    for _ in range(taken):
        await anext(items, None)
    await pause(turns)
    await items.aclose()
    belt.check(3)
    made = len(belt.made)
    await pause(20)
    assert len(belt.made) == made


async def cancelled_after(steps: int, belt: Belt, window: int, again: int) -> bool:
    """Cancel a consumer after so many turns of the loop; whether it had not ended by then."""
    found: list[int] = []
    task = asyncio.ensure_future(consume(belt, window, found, (0, 3)))
    await pause(steps)
    running = task.cancel()
    for _ in range(again):
        await pause(1)
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert found == list(range(len(found)))
    assert task.cancelled() or not running or again
    belt.check(window)
    return running


@pytest.mark.parametrize("again", [0, 1, 3], ids="cancelled {} times more".format)
@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("error", [None, OSError("broken")], ids=["whole", "broken"])
async def test_cancelled_at_each_await(error: Exception | None, window: int, again: int) -> None:
    """At whichever turn it is cancelled, all comes back, and the producer has been closed."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    tasks = asyncio.all_tasks()
    steps, running = 0, True
    while running:
        belt = Belt(4, error, pauses=(0, 2))
        try:
            running = await cancelled_after(steps, belt, window, again)
        except OSError:
            belt.check(window)
            running = steps < 100
        steps += 1
        assert asyncio.all_tasks() == tasks
    assert steps > 15
    assert not told


# Windows of slow readers.


async def test_a_window_grows_with_its_reader() -> None:
    """One item is ready at first, and one more whenever the reader takes one."""
    slots = Slots(4, MIB)
    belt, window = Belt(20), Window(4, slots)
    ready = []
    async with aclosing(in_order(belt.items(), window)) as items:
        async for _ in items:
            window.largest = 1000
            await settle()
            ready.append(len(belt.made) - len(belt.released))
            if len(belt.made) < belt.number:
                assert slots.lent == 1000 * (ready[-1] - 1)
    belt.check(4)
    assert ready[:6] == [1, 2, 3, 4, 4, 4]
    assert slots.lent == 0


async def test_a_window_without_memory() -> None:
    """Where nothing can be lent, one item is always ready all the same."""
    slots = Slots(4, MIB)
    assert slots.lend(MIB // 4)
    belt, window = Belt(20), Window(4, slots)
    async with aclosing(in_order(belt.items(), window)) as items:
        async for item in items:
            window.largest = 1000
            await settle()
            assert len(belt.made) - len(belt.released) == 1
            if item.number == 10:
                slots.return_lent(2000)  # another stream has taken its own
                break
        async for _ in items:
            await settle()
    belt.check(4)
    assert slots.lent == MIB // 4 - 2000


@pytest.mark.parametrize("taken", range(6))
async def test_a_window_is_closed(taken: int) -> None:
    """Whoever stops reading gives back what was lent."""
    slots = Slots(4, MIB)
    belt, window = Belt(20), Window(4, slots)
    items = in_order(belt.items(), window)
    for _ in range(taken):
        await anext(items)
        window.largest = 1000
        await settle()
    await items.aclose()
    belt.check(4)
    assert slots.lent == 0


async def test_a_stream_is_new_until_its_reader_has_read() -> None:
    """What buffers may have taken does not count; of a reader that is never slow nothing does."""
    window = Window(4, Slots(4, 64 * MIB))
    async with aclosing(in_order(Belt(20).items(), window)) as items:
        async for item in items:
            window.largest = MIB
            assert window.is_new == (item.number < 8)
    assert not Window(4).is_new


async def settle() -> None:
    """Let the producer run as far as it can."""
    await pause(20)
