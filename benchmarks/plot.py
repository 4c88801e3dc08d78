"""The results as a picture: bars of milliseconds, cost against size, throughput against
streams. Needs Pillow.
"""

from pathlib import Path
from typing import Any

PANEL = 460, 300
LEFT, TOP, RIGHT, BOTTOM = 66, 40, 24, 40
PAPER, INK, FAINT, MARK = (255, 255, 255), (20, 20, 20), (205, 205, 205), (30, 90, 190)


def draw(path: Path, results: dict[str, Any]) -> None:
    """Write a PNG with a panel for whatever was measured."""
    from PIL import Image

    timed = [row for row in results.get("rows", []) if row.get("median_ms")]
    panels = (
        [_bars("ms per frame, median", [(_label(r), r["median_ms"]) for r in timed])]
        if timed
        else []
    )
    for model, points in results.get("sizes", {}).items():
        spots = [(p["pixels"], p["median_ms"]) for p in points]
        panels.append(_curve(f"{model}: ms per frame against LR pixels", spots))
    for model, points in results.get("streams", {}).items():
        spots = [(p["batch"], p["frames_per_s"]) for p in points]
        panels.append(
            _curve(f"{model}: frames/s of all streams against their number", spots)
        )
    for model, found in results.get("parts", {}).items():
        shown = [(r["part"], r["ms"]) for r in found["parts"]]
        panels.append(_bars(f"{model}: ms per frame by part", shown))
    if not panels:
        return
    columns = 2
    lines = -(-len(panels) // columns)
    sheet = Image.new("RGB", (columns * PANEL[0], lines * PANEL[1]), PAPER)
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number % columns * PANEL[0], number // columns * PANEL[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _label(row: dict[str, Any]) -> str:
    return (
        f"{row['what']} {row['model']} {row['lr'][0]}x{row['lr'][1]} {row['precision']}"
    )


def _canvas(title: str) -> tuple[Any, Any, Any]:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", PANEL, PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    pen.text((12, 10), title, fill=INK, font=font)
    return image, pen, font


def _bars(title: str, values: list[tuple[str, float]]) -> Any:
    image, pen, font = _canvas(title)
    most, height = (
        max(v for _, v in values),
        min(24, (PANEL[1] - TOP - 10) // len(values)),
    )
    for number, (name, value) in enumerate(values):
        y, start = TOP + number * height, 230
        length = (PANEL[0] - start - 60) * value / most
        pen.text((12, y), name[:38], fill=INK, font=font)
        pen.rectangle((start, y + 2, start + length, y + height - 6), fill=MARK)
        pen.text((start + length + 4, y), f"{value:.4g}", fill=INK, font=font)
    return image


def _curve(title: str, spots: list[tuple[float, float]]) -> Any:
    """Both axes from zero, so that a linear law is a straight line through the corner."""
    image, pen, font = _canvas(title)
    right, bottom = PANEL[0] - RIGHT, PANEL[1] - BOTTOM
    most_x, most_y = (max(values) for values in zip(*spots))
    pen.rectangle((LEFT, TOP, right, bottom), outline=FAINT)
    at = [
        (LEFT + (right - LEFT) * x / most_x, bottom - (bottom - TOP) * y / most_y)
        for x, y in spots
    ]
    pen.line([(LEFT, bottom), (right, TOP)], fill=FAINT)
    pen.line(at, fill=MARK, width=2)
    for (x, y), (value, _) in zip(at, spots):
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=MARK)
        pen.text((x - 10, bottom + 6), f"{value:.6g}", fill=INK, font=font)
    pen.text((6, TOP - 6), f"{most_y:.4g}", fill=INK, font=font)
    return image
