"""Other sizes of a clip."""

import numpy as np
from PIL import Image

from train.data.batch import Clip


def resize(frames: Clip, size: tuple[int, int], method: Image.Resampling) -> Clip:
    """uint8[f,h,w,3] -> uint8[f,*size,3], antialiased."""
    height, width = size
    pictures = []
    for frame in frames:
        picture = Image.fromarray(frame)
        resized = picture.resize((width, height), method)
        pictures.append(np.asarray(resized))
    return np.stack(pictures)
