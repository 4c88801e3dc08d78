"""Windows of the correlation between two feature maps, as RAFT looks them up.

Level k correlates every pixel with the second map averaged over 2**k x 2**k pixels. A
lookup returns, per pixel, the (2r+1) x (2r+1) bilinear samples around a position, zero
outside the map. Since correlation is linear in the second map, pooling and sampling
commute with the dot product, which leaves two ways to the same values:

- volume: dot products of all pairs once, then windows are read; memory grows with the
  square of the pixels;
- on demand: dot products of the windows alone, for every lookup; memory grows with the
  pixels.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jax import lax

from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.ops.resize import mean_pool
from sdvsr_jax.types import Array, Features, Float

NUM_LEVELS = 4
RADIUS = 4
WINDOW = 2 * RADIUS + 1
NUM_CHANNELS = NUM_LEVELS * WINDOW**2
# Bytes of float32 volume up to which 'auto' takes the volume: it is faster, but grows
# with the square of the pixels. That of a 1280x720 output fits; at 2560x1440 RAFT needs
# 18.6 GB with it and 1.0 GB on demand (docs/parity.md).
VOLUME_LIMIT = 3 * 2**29
# Bytes of gathered features per step of the on-demand form on a CPU: windows of all
# pixels at once would take more than the volume.
CHUNK_BYTES = 2**26

Gather = Callable[[Array, Array, Array], Array]
"""(level, rows, columns) -> the values there."""
Lookup = Callable[[Float[Array, "b h w 2"]], Float[Array, "b h w d"]]


def make_lookup(
    features: Features,
    prev_features: Features,
    kind: Literal["auto", "volume", "on_demand"] = "auto",
) -> Lookup:
    """Returns a lookup of `features` [b,h,w,c] in `prev_features` [b,h,w,c].

    It is a function from positions (x, y) [b,h,w,2] in pixels of the feature map to
    [b,h,w,324]: levels first, then x offset, then y offset.
    """
    *sizes, channels = features.shape
    if kind == "auto":
        size = volume_bytes(*sizes)
        kind = "volume" if size <= VOLUME_LIMIT else "on_demand"
    features = jnp.asarray(features, jnp.float32)
    # as in attention, so that products do not grow with the number of channels
    features = features / channels**0.5
    prev_features = jnp.asarray(prev_features, jnp.float32)
    pyramid = _pyramid(prev_features)
    if kind == "on_demand":
        gather = functools.partial(_correlate, features)
        return lambda coords: _lookup(pyramid, coords, gather)
    volumes = [jnp.einsum("bijc,bklc->bijkl", features, level) for level in pyramid]
    return lambda coords: _lookup(volumes, coords, _read)


def volume_bytes(batch: int, height: int, width: int) -> int:
    """Returns the bytes of the float32 volume for feature maps [batch, height, width,
    c].
    """
    pixels = 0
    for level in range(NUM_LEVELS):
        level_height = height >> level
        level_width = width >> level
        pixels += level_height * level_width
    values = batch * height * width * pixels
    return 4 * values


def _pyramid(x: Features) -> list[Features]:
    levels = [x]
    for _ in range(NUM_LEVELS - 1):
        half = mean_pool(levels[-1], 2)
        levels.append(half)
    return levels


def _lookup(levels: list[Array], coords: Array, gather: Gather) -> Array:
    windows = []
    for k, level in enumerate(levels):
        centre = coords / 2**k
        windows.append(_window(level, centre, gather))
    return jnp.concatenate(windows, -1)


def _window(level: Array, centre: Array, gather: Gather) -> Array:
    """All samples of a window share their fraction: whole pixels are gathered once,
    then rows are blended, then columns.
    """
    # far outside there is nothing to read; the bound keeps the integer conversion
    # defined for any flow
    bound = 2.0**20
    near = jnp.clip(centre, -bound, bound)
    corner = jnp.floor(near)
    fraction = centre - corner
    fraction = jnp.moveaxis(fraction, -1, 0)
    fx, fy = fraction[..., None, None]
    # one pixel more than the window, for the blend
    offsets = jnp.arange(-RADIUS, RADIUS + 2)
    first = corner.astype(jnp.int32)
    pixels = first[..., None] + offsets
    x, y = jnp.moveaxis(pixels, -2, 0)
    patch = gather(level, y, x)
    upper = patch[..., :-1, :]
    lower = patch[..., 1:, :]
    rows = (1 - fy) * upper + fy * lower
    left = rows[..., :-1]
    right = rows[..., 1:]
    window = (1 - fx) * left + fx * right
    # x is the slow axis of a window, as the published weights expect
    x_first = jnp.swapaxes(window, -1, -2)
    *sizes, _, _ = x_first.shape
    return x_first.reshape(*sizes, WINDOW**2)


def _inside(y: Array, x: Array, height: int, width: int) -> tuple[Array, Array, Array]:
    """Rows and columns clamped into the map, and whether they were inside; y, x [...,
    n] -> [..., n, n].
    """
    y = y[..., :, None]
    x = x[..., None, :]
    is_between = (y >= 0) & (y < height)
    inside = is_between & (x >= 0) & (x < width)
    row = jnp.clip(y, 0, height - 1)
    column = jnp.clip(x, 0, width - 1)
    return row, column, inside


def _read(volume: Float[Array, "b h w k l"], y: Array, x: Array) -> Array:
    *sizes, height, width = volume.shape
    y, x, inside = _inside(y, x, height, width)
    # numbers of the pixels, in front of the two axes of a window
    axes = (*sizes, 1, 1)
    slices = tuple(slice(size) for size in axes)
    batch, row, column, *_ = jnp.ogrid[slices]
    values = volume[batch, row, column, y, x]
    return jnp.where(inside, values, 0)


def _correlate(features: Features, level: Features, y: Array, x: Array) -> Array:
    """Dot products of every pixel with the pixels at (y, x), zero outside."""
    platform, _ = device_kind()
    form = _correlate_fused if platform == "cuda" else _correlate_chunked
    return form(features, level, y, x)


def _correlate_fused(features: Features, level: Features, y: Array, x: Array) -> Array:
    """One kernel on a GPU, which gathers while it sums; of a product XLA would write
    the gathered windows first.
    """
    _, height, width, _ = level.shape
    y, x, inside = _inside(y, x, height, width)
    batch = jnp.arange(len(features))
    batch = batch[:, None, None, None, None]
    windows = level[batch, y, x]
    vectors = features[:, :, :, None, None]
    products = vectors * windows
    sums = products.sum(-1)
    return jnp.where(inside, sums, 0)


def _correlate_chunked(
    features: Features, level: Features, y: Array, x: Array
) -> Array:
    """On a CPU a product is far faster than a sum, but writes its windows: so some
    pixels at a time.
    """
    b, h, w, c = features.shape
    _, height, width, _ = level.shape
    num_pixels = b * h * w
    numbers = jnp.arange(b)[:, None, None]
    batch = jnp.broadcast_to(numbers, (b, h, w))

    def flat(array: Array) -> Array:
        _, _, _, *sizes = array.shape
        return array.reshape(num_pixels, *sizes)

    def dot(pixel: tuple[Array, ...]) -> Array:
        vector, n, y, x = pixel
        y, x, inside = _inside(y, x, height, width)
        window = level[n, y, x]
        products = jnp.einsum("yxc,c->yx", window, vector)
        return jnp.where(inside, products, 0)

    side = WINDOW + 1
    pixel_bytes = 4 * c * side**2
    chunk = max(1, CHUNK_BYTES // pixel_bytes)
    chunk = min(chunk, num_pixels)
    arrays = (features, batch, y, x)
    pixels = tuple(flat(array) for array in arrays)
    dots = lax.map(dot, pixels, batch_size=chunk)
    return dots.reshape(b, h, w, side, side)
