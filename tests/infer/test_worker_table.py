"""The table of workers on a terminal."""

import io

import pytest
from rich.console import Console

pytest.importorskip("ray")

from infer.cluster.table import Row, draw


@pytest.mark.parametrize("name", ["[/bold].mp4", "[red]x.mp4", "a\x1b[31m.mp4"])
def test_a_name_is_no_order(name: str) -> None:
    text = io.StringIO()
    row = Row("cpu 1", name, 12, 1.5)
    Console(file=text, width=80).print(draw("1 of 2 videos are over", [row]))
    # Rich takes words in brackets for colours unless it is told not to.
    assert name.replace("\x1b", "\\x1b") in text.getvalue()
    assert "\x1b" not in text.getvalue()
