"""Clusters that see the same files: a pool of processes, and Dask's own."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from typing import Any

from .tools import module


class Watched(Executor):
    """Another executor, and the bytes that go to its workers and come back."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.sent = self.returned = 0
        self.before: Callable[[], object] = lambda: None
        """Called before each job."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        self.before()
        self.sent += len(pickle.dumps(arguments))
        future = self._executor.submit(function, *arguments, **options)
        future.add_done_callback(self._count)
        return future

    def _count(self, future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.returned += len(pickle.dumps(future.result()))


@asynccontextmanager
async def dask_client() -> AsyncIterator[Any]:
    """A client of two worker processes of one thread each, which are started again if they die."""
    distributed = module("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    cluster = await asyncio.to_thread(distributed.LocalCluster, **options)
    try:
        client = await asyncio.to_thread(distributed.Client, cluster)
        try:
            yield client
        finally:
            await asyncio.to_thread(client.close)
    finally:
        await asyncio.to_thread(cluster.close)
