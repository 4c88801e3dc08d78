"""Answers that take their time."""

import asyncio
import itertools

from infer.ui.later import Later


def test_an_answer_is_there_when_it_is_asked_for_again() -> None:
    async def scene() -> None:
        later = Later()

        async def work() -> int:
            return 7

        assert later.get("a", work) == (None, True)
        await asyncio.sleep(0.01)
        assert later.get("a", work) == (7, False)

    asyncio.run(scene())


def test_of_those_that_wait_only_the_latest_is_worked_on() -> None:
    async def scene() -> list[str]:
        later, worked, gate = Later(), [], asyncio.Event()

        async def work(name: str) -> None:
            worked.append(name)
            await gate.wait()

        for name in "abcd":
            later.get(name, lambda name=name: work(name))
            await asyncio.sleep(0)
        gate.set()
        await asyncio.sleep(0.01)
        return worked

    assert asyncio.run(scene()) == ["a", "d"]


def test_a_question_without_an_answer_is_not_worked_on_again() -> None:
    async def scene() -> None:
        later, calls = Later(), itertools.count()

        async def work() -> None:
            next(calls)
            raise ValueError("no estimate")

        later.get("a", work)
        await asyncio.sleep(0.01)
        assert later.get("a", work) == (None, False)
        assert next(calls) == 1

    asyncio.run(scene())
