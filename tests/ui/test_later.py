"""Answers that take their time."""

import asyncio

from infer.ui.later import Later


def test_an_answer_is_there_when_it_is_asked_for_again() -> None:
    async def scene() -> None:
        later = Later()

        async def work() -> int:
            return 7

        assert later.get("a", work) == (None, True)
        # time for the loop to turn; the work itself takes none
        await asyncio.sleep(0.01)
        assert later.get("a", work) == (7, False)

    asyncio.run(scene())


def test_of_those_that_wait_only_the_latest_is_worked_on() -> None:
    async def scene() -> list[str]:
        later = Later()
        order = []
        gate = asyncio.Event()

        async def work(name: str) -> None:
            order.append(name)
            await gate.wait()

        for name in "abcd":
            later.get(name, lambda name=name: work(name))
            # one turn of the loop: the first begins
            await asyncio.sleep(0)
        gate.set()
        await asyncio.sleep(0.01)
        return order

    assert asyncio.run(scene()) == ["a", "d"]


def test_a_question_without_an_answer_is_not_worked_on_again() -> None:
    async def scene() -> None:
        later = Later()
        calls = []

        async def work() -> None:
            calls.append("a")
            raise ValueError("no estimate")

        later.get("a", work)
        await asyncio.sleep(0.01)
        assert later.get("a", work) == (None, False)
        await asyncio.sleep(0.01)
        assert calls == ["a"]

    asyncio.run(scene())
