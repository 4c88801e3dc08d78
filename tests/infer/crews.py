"""A crew without Ray: real workers in this process, asked in any order."""

import dataclasses
import pickle
import random
from collections.abc import Iterator
from typing import Any

from infer.cluster.crew import Hand, WorkerDied
from infer.cluster.worker import Worker
from infer.model.engines import Engines
from infer.model.threads import num_threads

ENGINES = Engines()
"""Of all workers here, which would compile the same programs."""


class Crew:
    """Answers one call at a time, that of a random worker.

    deaths: how many calls may end with the death of their worker, a share of
    ``mortality`` of them. blind: workers cannot read the user's files.
    """

    def __init__(
        self,
        count: int,
        seed: int = 0,
        deaths: int = 0,
        mortality: float = 0.3,
        blind: bool = False,
    ) -> None:
        self.hands: list[Hand] = []
        for number in range(count):
            hand = Hand(f"worker {number}", self._worker())
            self.hands.append(hand)
        self.num_groups = 0
        self._chance = random.Random(seed)
        self._deaths = deaths
        self._mortality = mortality
        self._blind = blind

    def ask(self, hand: Hand, call: Any, method: str, *arguments: Any) -> None:
        hand.call = call
        # as it goes over the wire
        hand.result = method, pickle.dumps(arguments)

    def answers(self, seconds: float) -> Iterator[tuple[Hand, Any, Any]]:
        busy = [hand for hand in self.hands if hand.call is not None]
        yield from self.answer_of(self._chance.choice(busy))

    def answer_of(self, hand: Hand) -> Iterator[tuple[Hand, Any, Any]]:
        """Lets a worker carry out its call."""
        call = hand.call
        method, arguments = hand.result
        hand.call = hand.result = None
        if self._deaths and self._chance.random() < self._mortality:
            self._deaths -= 1
            hand.actor.close()
            hand.actor = self._worker()
            # A new worker has no video.
            hand.key = ""
            yield hand, call, WorkerDied(hand.name)
            return
        answer = self._answer(hand, method, pickle.loads(arguments))
        yield hand, call, answer

    def _answer(self, hand: Hand, method: str, arguments: tuple) -> Any:
        self.num_groups += method == "upscale"
        try:
            if method == "take" and self._blind:
                arguments = self._blinded(*arguments)
            # Ray sends copies: nobody may lean on sharing an object.
            result = getattr(hand.actor, method)(*arguments)
            return pickle.loads(pickle.dumps(result))
        except Exception as error:
            return error

    def _blinded(self, key: str, options: Any, plan: Any, *rest: Any) -> tuple:
        info = plan.info
        files = tuple(f"/nowhere{path}" for path in info.files)
        path = f"/nowhere{info.path}"
        info = dataclasses.replace(info, path=path, files=files)
        plan = dataclasses.replace(plan, info=info)
        return key, options, plan, *rest

    def close(self) -> None:
        """Ends all workers."""
        for hand in self.hands:
            hand.actor.close()

    def _worker(self) -> Worker:
        return Worker(num_threads(), ENGINES)
