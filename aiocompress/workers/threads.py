"""Threads that begin before work is taken: where none can be started, nothing runs twice.

``ThreadPoolExecutor.submit`` queues the work, and then fails if another thread cannot be started
(a limit of a container, RLIMIT_AS): whoever takes that for a refusal and goes on has the work
done a second time, beside the first.
"""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor


class Threads(ThreadPoolExecutor):
    """A thread pool that makes do with the threads it has got.

    :raises OSError: from ``submit``: there is none, and none can be started.
    """

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except (RuntimeError, MemoryError):
            if not self._threads:
                self._work_queue.get_nowait()  # the work that was queued just now
                raise OSError(errno.EAGAIN, "no thread can be started here") from None
