"""How the page looks, by a measure that forgives letters and smoothing, not by bytes.

`SDVSR_LOOK=write pytest tests/ui/test_look.py -m ""` writes the kept pictures anew.
"""

import io
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.ui.conftest import CLIP, Open, Serve, Server

pytestmark = pytest.mark.heavy(25)

KEPT = Path(__file__).parent / "looks"
BLOCK = 10
"""Pixels of the page for one of the kept picture, along a side: letters become grey."""
WINDOW = 16
"""Blocks along a side of the parts that are compared, which overlap by half."""
TOLERANCE = 12.0
"""Codes of 255 by which blocks may differ in the mean of a window. Another typeface
makes 5, a button that is gone 50; a line more of text shifts what is below it.
"""
SIZES = {390: 840, 1280: 860, 2560: 1300}
BREAKS = {
    "a card is gone": "#form { visibility: hidden }",
    "the columns are gone": "#panel-video { display: block }",
    "the stage is low": "#stage { height: 120px }",
    "letters are large": ":root { font-size: 22px }",
    "a button is gone": "#enqueue { visibility: hidden }",
    "the bars are gone": ".bar { visibility: hidden }",
}


@pytest.fixture
def server(serve: Serve) -> Server:
    """A server that may open the example."""
    return serve("--root", CLIP.parent)


def blocks(data: bytes) -> np.ndarray:
    """A screenshot as mean colours of blocks, float [h, w, 3]."""
    with Image.open(io.BytesIO(data)) as picture:
        size = (picture.width // BLOCK, picture.height // BLOCK)
        small = picture.convert("RGB").resize(size, Image.Resampling.BOX)
        return np.asarray(small).astype(float)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference in the window where it is largest."""
    assert one.shape == other.shape
    difference = np.abs(one - other).max(axis=-1)
    starts = (range(0, side, WINDOW // 2) for side in difference.shape)
    means = []
    for y, x in itertools.product(*starts):
        window = difference[y : y + WINDOW, x : x + WINDOW]
        means.append(window.mean())
    return float(max(means))


def check(page: Page, name: str) -> None:
    """Compare the page with its kept picture, or write that."""
    # a blinking cursor and the ring of a focus come and go
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(100)
    picture = blocks(page.screenshot())
    path = KEPT / f"{name}.png"
    if os.environ.get("SDVSR_LOOK") == "write":
        KEPT.mkdir(exist_ok=True)
        Image.fromarray(np.rint(picture).astype(np.uint8)).save(path, optimize=True)
    expected = kept_picture(name)
    gap = distance(picture, expected)
    assert gap < TOLERANCE, f"{gap:.1f}: look at it, then write {path.name} anew"


def kept_picture(name: str) -> np.ndarray:
    with Image.open(KEPT / f"{name}.png") as picture:
        return np.asarray(picture.convert("RGB")).astype(float)


def test_the_page_looks_as_it_was_meant_to(server: Server, open_page: Open) -> None:
    page = open_page(server.address, color_scheme="dark")
    check(page, "welcome_1280_dark")
    page.click("#tab-camera")
    check(page, "camera_1280_dark")

    entry = server.post("api/inputs", {"path": str(CLIP)})["id"]
    for seed in (1, 2):
        wish = {"input": entry, "options": {"seed": seed}}
        job = server.post("api/jobs", wish)["id"]
        server.patch(f"api/jobs/{job}", {"action": "pause"})
    for scheme in ("dark", "light"):
        page = open_page(server.address, color_scheme=scheme)
        page.wait_for_selector("#queue .job:nth-child(2) .state.paused")
        page.wait_for_selector("#basis[data-pending=false]")
        page.wait_for_selector("#stage[data-sides=source]")
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            check(page, f"video_{width}_{scheme}")
    check_measure(page)


def check_measure(page: Page) -> None:
    """The measure sees the fault that it is for."""
    size = page.viewport_size
    assert size is not None
    expected = kept_picture(f"video_{size['width']}_light")
    for name, rule in BREAKS.items():
        # the page's own policy lets no style in; sheets made by script are not asked
        page.evaluate(
            """(rule) => {
                const sheet = new CSSStyleSheet();
                sheet.replaceSync(rule);
                document.adoptedStyleSheets = [sheet];
            }""",
            rule,
        )
        assert distance(blocks(page.screenshot()), expected) > TOLERANCE, name
