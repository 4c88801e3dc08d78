"""Rows of numbers as Markdown, JSON and plots."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
PAPER, INK, GREY = (255, 255, 255), (20, 20, 20), (200, 200, 200)
COLOURS = ((30, 90, 190), (200, 60, 30), (20, 140, 80), (150, 70, 170), (190, 140, 0), (0, 150, 160))


def table(rows: Sequence[Row], columns: Mapping[str, str] | None = None) -> str:
    """Markdown; ``columns`` maps keys to headings (default: the first row's keys); empty ones are left out."""
    names = dict(columns) if columns else {key: key.replace("_", " ") for key in rows[0]}
    used = [key for key in names if any(row.get(key) is not None for row in rows)]
    lines = ["| " + " | ".join(names[key] for key in used) + " |", "|" + "---|" * len(used)]
    lines += ["| " + " | ".join(_cell(row.get(key)) for key in used) + " |" for row in rows]
    return "\n".join(lines)


def write(path: Path | None, content: Any) -> None:
    """JSON, if a path is given."""
    if path is not None:
        path.write_text(json.dumps(content, indent=1, default=str) + "\n", "utf-8")


def plot(path: Path | None, title: str, x_name: str, y_name: str, lines: Mapping[str, Sequence[tuple]]) -> None:
    """Points (x, y) joined to lines, both axes from zero, so that what is linear looks linear."""
    if path is None:
        return
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (640, 360), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    left, top, right, bottom = 70, 52, 620, 320
    high_x, high_y = (max(p[axis] for points in lines.values() for p in points) for axis in (0, 1))
    draw.text((left, 6), title, fill=INK, font=font)
    draw.rectangle((left, top, right, bottom), outline=GREY)
    for part in (0, 0.5, 1):
        x, y = left + part * (right - left), bottom - part * (bottom - top)
        draw.line((x, bottom, x, bottom + 4), fill=INK)
        draw.text((x - 14, bottom + 6), f"{part * high_x:.4g}", fill=INK, font=font)
        draw.text((6, y - 7), f"{part * high_y:.4g}", fill=INK, font=font)
    draw.text((right - 150, bottom + 22), x_name, fill=INK, font=font)
    draw.text((6, top - 22), y_name, fill=INK, font=font)
    across = right
    for (name, points), colour in zip(lines.items(), COLOURS * 3):
        across -= int(draw.textlength(name, font)) + 14
        draw.text((across, top - 20), name, fill=colour, font=font)
        dots = [(left + x / high_x * (right - left), bottom - y / high_y * (bottom - top)) for x, y in points]
        draw.line(dots, fill=colour, width=2)
        for x, y in dots:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
    image.save(path)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
