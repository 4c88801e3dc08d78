"""A detail of one frame, enlarged bicubically | upscaled: python side_by_side.py IN OUT
PICTURE [FRAME [X,Y,W,H]].

X,Y,W,H are parts of the picture's width and height.
"""

import itertools
import sys

import av
import numpy as np
from PIL import Image


def frame(path: str, index: int) -> Image.Image:
    """Frame number ``index`` of a video as RGB."""
    with av.open(path) as container:
        return next(itertools.islice(container.decode(video=0), index, None)).to_image()


def main(
    source: str,
    result: str,
    target: str,
    index: str = "20",
    box: str = "0.25,0.16,0.5,0.5",
) -> None:
    large = frame(result, int(index))
    bicubic = frame(source, int(index)).resize(large.size, Image.Resampling.BICUBIC)
    width, height = large.size
    x, y, w, h = map(float, box.split(","))
    detail = (
        round(x * width),
        round(y * height),
        round((x + w) * width),
        round((y + h) * height),
    )
    pair = np.concatenate(
        [np.asarray(image.crop(detail)) for image in (bicubic, large)], 1
    )
    Image.fromarray(pair).save(target)
    print(f"{target}  left: bicubic, right: upscaled, frame {index}")


if __name__ == "__main__":
    main(*sys.argv[1:])
