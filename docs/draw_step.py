"""The drawing of one step, docs/pictures/step.svg: python docs/draw_step.py."""

from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).parent / "pictures" / "step.svg"
WIDTH = 940
HEIGHT = 400

KINDS = {
    "frame": ("#e8f0fe", "#1e5abe"),
    "state": ("#fdf3dc", "#b27b00"),
    "network": ("#e6f4ea", "#2b7a3d"),
    "plain": ("#f3f4f6", "#6b7280"),
}
"""Fill and border of a box."""


class Box(NamedTuple):
    """Left, top, width and lines of text."""

    x: int
    y: int
    width: int
    kind: str
    lines: tuple[str, ...]

    @property
    def height(self) -> int:
        return 18 + 16 * len(self.lines)

    @property
    def centre(self) -> tuple[int, int]:
        x = self.x + self.width // 2
        y = self.y + self.height // 2
        return x, y

    def side(self, name: str) -> tuple[int, int]:
        """The middle of an edge: 'left', 'right', 'top' or 'bottom'."""
        x, y = self.centre
        middles = {
            "left": (self.x, y),
            "right": (self.x + self.width, y),
            "top": (x, self.y),
            "bottom": (x, self.y + self.height),
        }
        return middles[name]


BOXES = {
    "lr": Box(20, 60, 120, "frame", ("LR frame", "[b, h, w, 3]")),
    "state": Box(20, 280, 120, "state", ("state", "LR, SR, features", "of frame t-1")),
    "up": Box(190, 20, 120, "plain", ("bicubic x4",)),
    "flow": Box(190, 200, 120, "network", ("flow", "now to before")),
    "warp": Box(360, 280, 130, "plain", ("warp SR t-1", "validity 0 ... 1")),
    "noise": Box(360, 20, 130, "plain", ("noise", "seed, stream, frame")),
    "guidance": Box(360, 180, 130, "network", ("guidance", "(ControlNet)")),
    "unet": Box(550, 100, 140, "network", ("U-Net", "4 DDIM steps")),
    "decoder": Box(750, 180, 150, "network", ("decoder", "TPM in every block")),
    "sr": Box(750, 60, 150, "frame", ("SR frame", "[b, 4h, 4w, 3]")),
    "next": Box(750, 300, 150, "state", ("new state",)),
}

ARROWS = (
    ("lr", "right", "up", "left"),
    ("lr", "right", "flow", "left"),
    ("up", "bottom", "flow", "top"),
    ("state", "right", "flow", "left"),
    ("flow", "right", "warp", "left"),
    ("state", "right", "warp", "left"),
    ("warp", "top", "guidance", "bottom"),
    ("noise", "right", "unet", "left"),
    ("lr", "right", "unet", "left"),
    ("guidance", "right", "unet", "left"),
    ("unet", "right", "decoder", "left"),
    ("warp", "right", "decoder", "left"),
    ("decoder", "top", "sr", "bottom"),
    ("decoder", "bottom", "next", "top"),
)


def draw_box(box: Box) -> str:
    fill, border = KINDS[box.kind]
    corner = f'x="{box.x}" y="{box.y}"'
    size = f'width="{box.width}" height="{box.height}"'
    style = f'rx="6" fill="{fill}" stroke="{border}"'
    parts = [f"<rect {corner} {size} {style}/>"]
    x, _ = box.centre
    for number, text in enumerate(box.lines):
        baseline = box.y + 22 + 16 * number
        # The first line is the name.
        weight = ' font-weight="bold"' if number == 0 else ""
        place = f'x="{x}" y="{baseline}" text-anchor="middle"'
        line = f"<text {place}{weight}>{text}</text>"
        parts.append(line)
    return "\n".join(parts)


def draw_arrow(start: tuple[int, int], end: tuple[int, int], is_upright: bool) -> str:
    x0, y0 = start
    x1, y1 = end
    # The curve leaves and arrives at right angles to the boxes.
    if is_upright:
        bend = (y1 - y0) // 2
        leave = f"{x0},{y0 + bend}"
        arrive = f"{x1},{y1 - bend}"
    else:
        bend = (x1 - x0) // 2
        leave = f"{x0 + bend},{y0}"
        arrive = f"{x1 - bend},{y1}"
    path = f"M{x0},{y0} C{leave} {arrive} {x1},{y1}"
    style = 'fill="none" stroke="#374151" marker-end="url(#tip)"'
    return f'<path d="{path}" {style}/>'


def drawing() -> str:
    """Returns the text of the SVG."""
    arrows = []
    for source, leaves, target, arrives in ARROWS:
        start = BOXES[source].side(leaves)
        end = BOXES[target].side(arrives)
        is_upright = leaves in ("top", "bottom")
        arrows.append(draw_arrow(start, end, is_upright))
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#374151"/>'
        "</marker>"
    )
    header = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
    )
    # Or the page's own ground would show through, which may be dark.
    paper = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    boxes = [draw_box(box) for box in BOXES.values()]
    head = [header, f"<defs>{tip}</defs>", paper]
    # Boxes last: they cover the arrows that pass below them.
    parts = [*head, *arrows, *boxes, "</svg>"]
    text = "\n".join(parts)
    return f"{text}\n"


def main() -> None:
    text = drawing()
    TARGET.write_text(text, "utf-8")
    print(TARGET)


if __name__ == "__main__":
    main()
