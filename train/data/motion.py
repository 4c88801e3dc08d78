"""A photograph set in motion: a smooth seeded pan, zoom and hand shake over the still
image.
"""

import numpy as np
from jaxtyping import Float
from PIL import Image

from train.data.batch import Clip, Picture

# The largest zoom and roll touch 1.1 (cos 0.1 + sin 0.1) = 1.20.
REACH = 1.22
"""Side of the square that a rolled and zoomed view can touch, in view sides."""


def camera_path(num_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "f 4"]:
    """float[f, 4] = (x, y) offset in pixels, zoom, rotation in radians, all relative to
    the first frame.

    Constant velocity up to 6 px per frame in any direction, zoom and roll drifts, and a
    shake that is an autoregressive walk; one window in five stands on a tripod (shake
    of at most a tenth of a pixel).
    """
    time = np.arange(num_frames)[:, None]
    angle = rng.uniform(0, 2 * np.pi)
    speed = 6 * rng.beta(1, 2)
    is_still = rng.random() < 0.2
    velocity = [
        speed * np.cos(angle),
        speed * np.sin(angle),
        rng.normal(0, 0.003),
        rng.normal(0, 0.002),
    ]
    if is_still:
        shake_size = np.array([0.03, 0.03, 0, 0])
    else:
        largest = np.array([0.6, 0.6, 0.001, 0.001])
        shake_size = largest * rng.random()
    shake = np.zeros((num_frames, 4))
    for frame in range(1, num_frames):
        push = shake_size * rng.normal(size=4)
        # a hand comes back: four fifths of the way are left after each frame
        shake[frame] = 0.8 * shake[frame - 1] + push
    drift = time * np.array(velocity)
    if is_still:
        drift = np.zeros_like(drift)
    x, y, log_zoom, roll = (drift + shake).T
    zoom = np.exp(log_zoom)
    zoom = np.clip(zoom, 0.85, 1.1)
    roll = np.clip(roll, -0.1, 0.1)
    return np.stack([x, y, zoom, roll], axis=1)


def moving_crops(
    photo: Picture,
    num_frames: int,
    size: int,
    rng: np.random.Generator,
    *,
    whole_pixels: bool = False,
) -> Clip:
    """uint8[h,w,3] -> uint8[f,size,size,3]: bicubic crops along a camera path that
    stays inside the photograph.

    ``whole_pixels``: translation alone, by whole pixels, which needs no interpolation
    and is many times faster.
    """
    path = camera_path(num_frames, rng)
    offsets = path[:, :2]
    photo_height, photo_width, _ = photo.shape
    sides = np.array([photo_width, photo_height])
    needed = REACH * size + 2
    # more scene per crop, and the antialiased reduction hides JPEG noise; a small
    # picture is enlarged instead
    smallest = needed / sides.min()
    reduction = max(rng.uniform(0.5, 1.0), smallest)
    reduced_sides = sides * reduction
    room = (reduced_sides - needed) / 2
    # the path may wander only as far as the picture goes: scale it down rather than
    # show a border
    wander = np.abs(offsets).max(0)
    share = room / (wander + 1e-6)
    offsets *= np.minimum(1.0, share)
    wander = np.abs(offsets).max(0)
    reach = needed / 2 + wander
    last = np.maximum(reduced_sides - reach, reach)
    centre = rng.uniform(reach, last)
    # only the part that the path can see is resized
    first = centre - reach
    end = centre + reach
    box = np.concatenate([first, end]) / reduction
    # rounding may lead a little outside, which Pillow refuses
    box = np.clip(box, 0, np.tile(sides, 2))
    left, top, right, bottom = box.tolist()
    width, height = (round(2 * float(side)) for side in reach)
    part = Image.fromarray(photo).resize(
        (width, height),
        Image.Resampling.BICUBIC,
        box=(left, top, right, bottom),
    )
    centres = reach + offsets
    if whole_pixels:
        return _whole_crops(np.asarray(part), centres, size)
    views = []
    for position, (zoom, roll) in zip(centres, path[:, 2:]):
        view = _view(part, position, zoom, roll, size)
        views.append(view)
    return np.stack(views)


def _whole_crops(pixels: np.ndarray, centres: np.ndarray, size: int) -> Clip:
    corners = np.rint(centres - size / 2)
    crops = []
    for left, top in corners.astype(int):
        bottom = top + size
        right = left + size
        crops.append(pixels[top:bottom, left:right])
    return np.stack(crops)


def _view(
    image: Image.Image, centre: np.ndarray, zoom: float, roll: float, size: int
) -> np.ndarray:
    cos = np.cos(roll) * zoom
    sin = np.sin(roll) * zoom
    half = size / 2
    x, y = centre
    # the view's top left corner
    x0 = x - cos * half + sin * half
    y0 = y - sin * half - cos * half
    view = image.transform(
        (size, size),
        Image.Transform.AFFINE,
        (cos, -sin, x0, sin, cos, y0),
        Image.Resampling.BICUBIC,
    )
    return np.asarray(view)
