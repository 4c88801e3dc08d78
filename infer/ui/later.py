"""Answers that take seconds: a request gets the state so far, and asks again."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, NamedTuple

KEPT = 64
"""Answers; the same job is asked for at every change of the form."""


class Later:
    """Answers by key, worked out one after the other in the background."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._latest: Hashable = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> "Answer":
        """Returns the answer to a question if it is there, and else begins the work.
        Of several questions that wait only the latest is worked on: the others were
        asked by a form that has changed since.
        """
        if key in self._answers:
            self._answers.move_to_end(key)
            return Answer(self._answers[key], False)
        if key != self._latest:
            self._latest = key
            task = asyncio.create_task(self._work_out(key, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return Answer(None, True)

    async def close(self) -> None:
        """Give up all unfinished work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work_out(
        self, key: Hashable, work: Callable[[], Awaitable[Any]]
    ) -> None:
        async with self._turn:
            # another form asked for something else, or this was worked out meanwhile
            if key != self._latest or key in self._answers:
                return
            value = None
            # An estimate that cannot be made is no reason to refuse the job.
            try:
                value = await work()
            except Exception as error:
                logging.getLogger(__name__).warning("no estimate: %s", error)
            self._answers[key] = value
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)


class Answer(NamedTuple):
    """The state of a question. value: None also where it cannot be answered."""

    value: Any
    is_pending: bool
