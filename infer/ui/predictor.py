"""Predicted time and memory of jobs like which nothing has run here yet."""

import asyncio
import json
from typing import Any

from infer.ui.later import Answer, Later
from infer.ui.worker import Worker

IDLE = 60.0
"""Seconds after which the process is ended: it holds a model on the device."""
APART = ("--start", "--frames", "--crf", "--seed", "--preset")
"""Options that change neither the time of a frame nor the memory."""


class Predictor:
    """Asks `infer.command.plan` in a process of its own."""

    def __init__(self) -> None:
        self._later = Later()
        self._worker = Worker(
            "infer.ui.predict_worker",
            # jobs need the memory of the device
            XLA_PYTHON_CLIENT_PREALLOCATE="false",
        )
        self._timer: asyncio.TimerHandle | None = None
        self._threads: list[str] = []

    def predict(self, words: list[str], output: str) -> Answer:
        """Returns the fields of `infer.command.plan.Prediction` for a command line."""
        decisive = [word for word in words if word.split("=")[0] not in APART]
        return self._later.get(tuple(decisive), lambda: self._ask(words, output))

    async def close(self) -> None:
        """End the process."""
        await self._later.close()
        self._rest()
        await self._worker.close()

    async def _ask(self, words: list[str], output: str) -> dict[str, Any]:
        self._rest()
        threads = [word for word in words if word.startswith("--threads=")]
        if threads != self._threads:
            # a process has one number of threads for as long as it lives
            self._worker.end()
            self._threads = threads
        question = json.dumps({"words": words, "output": output})
        try:
            answer = await self._worker.ask(b"P", question.encode())
            return json.loads(answer)
        finally:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(IDLE, self._worker.end)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
