"""A detail of one frame as a labelled strip: LR | bicubic | ours (| HR).

python side_by_side.py SOURCE RESULT PICTURE [FRAME [X,Y,W,H [ORIGINAL]]]

X,Y,W,H are parts of the picture's width and height. ORIGINAL, where there is one, is
the clip or folder that SOURCE was reduced from: it becomes the last picture.
"""

import itertools
import sys
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

# A label of 15 pixels with some air.
BAND = 26

Box = tuple[int, int, int, int]


def frame(path: str, index: int) -> Image.Image:
    """Returns frame number ``index`` of a video or a folder of pictures as RGB."""
    if Path(path).is_dir():
        files = sorted(Path(path).iterdir())
        picture = Image.open(files[index])
        return picture.convert("RGB")
    with av.open(path) as container:
        frames = container.decode(video=0)
        # Decoded from the first one: to seek would lead to a key frame.
        picture = next(itertools.islice(frames, index, None))
        return picture.to_image()


def detail(size: tuple[int, int], parts: str) -> Box:
    """Returns left, top, right and bottom in pixels of a picture of this size."""
    width, height = size
    x, y, w, h = map(float, parts.split(","))
    left = round(x * width)
    right = round((x + w) * width)
    top = round(y * height)
    bottom = round((y + h) * height)
    return left, top, right, bottom


def labelled(image: Image.Image, text: str) -> Image.Image:
    """Returns the picture below a band with its name."""
    size = (image.width, image.height + BAND)
    sheet = Image.new("RGB", size, "white")
    sheet.paste(image, (0, BAND))
    font = ImageFont.load_default(15)
    draw = ImageDraw.Draw(sheet)
    draw.text((6, 4), text, fill="black", font=font)
    return sheet


def strip(panels: list[Image.Image]) -> Image.Image:
    """Returns the pictures side by side."""
    first, *_ = panels
    width = sum(panel.width for panel in panels)
    sheet = Image.new("RGB", (width, first.height), "white")
    edge = 0
    for panel in panels:
        sheet.paste(panel, (edge, 0))
        edge += panel.width
    return sheet


def main(
    source: str,
    result: str,
    target: str,
    index: str = "20",
    box: str = "0.25,0.16,0.3,0.5",
    original: str = "",
) -> None:
    number = int(index)
    large = frame(result, number)
    small = frame(source, number)
    size = large.size
    pictures = {
        # Nearest: the pixels as they are.
        "LR": small.resize(size, Image.Resampling.NEAREST),
        "bicubic": small.resize(size, Image.Resampling.BICUBIC),
        "ours": large,
    }
    if original:
        truth = frame(original, number)
        pictures["HR"] = truth.resize(size)
    area = detail(size, box)
    panels = []
    for name, image in pictures.items():
        part = image.crop(area)
        panels.append(labelled(part, name))
    sheet = strip(panels)
    # The option is JPEG's; PNG ignores it.
    sheet.save(target, quality=92)
    labels = " | ".join(pictures)
    print(f"{target}  {labels}, frame {index}")


if __name__ == "__main__":
    main(*sys.argv[1:])
