"""Counts of the attackers' tries, added up over all workers, printed at the end."""

import itertools
from collections import Counter
from typing import Any

import pytest

PREFIX = "attack: "


def count(request: pytest.FixtureRequest, what: str, number: int = 1) -> None:
    """Note so many tries of a kind for the summary."""
    request.node.user_properties.append((PREFIX + what, number))


def summary(reporter: Any) -> list[str]:
    """One line for each kind of attack, from the reports of a session."""
    totals: Counter[str] = Counter()
    groups = reporter.stats.values()
    for report in itertools.chain.from_iterable(groups):
        # setup and teardown have the same properties, and warnings none
        if getattr(report, "when", "") != "call":
            continue
        for name, value in report.user_properties:
            if name.startswith(PREFIX):
                what = name.removeprefix(PREFIX)
                totals[what] += value
    return [f"{number:,} {what}" for what, number in sorted(totals.items())]
