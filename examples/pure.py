"""The pure function and its state, to build on with JAX.

python pure.py IN.mp4 [MODEL]
"""

import itertools
import sys

import av
import jax
import jax.numpy as jnp
import numpy as np

from sdvsr_jax import init_state, load, prepare, step


def read(path: str, count: int) -> jax.Array:
    """Returns the first frames as [frame, 1, h, w, 3] in [-1, 1]."""
    with av.open(path) as video:
        frames = itertools.islice(video.decode(video=0), count)
        pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    levels = np.stack(pictures)
    clip = jnp.asarray(levels, jnp.float32)
    # A batch of one stream.
    batch = clip[:, None]
    return batch / 127.5 - 1


def main(path: str, model: str = "nano") -> None:
    config, params = load(model)
    prepared = prepare(params, config)
    lr_frames = read(path, 4)
    num_frames, batch, height, width, _ = lr_frames.shape

    # One frame at a time, the state handed on.
    @jax.jit
    def advance(state, frame):
        return step(prepared, state, frame, config=config)

    state = init_state(config, batch, height, width, seed=0)
    for frame in lr_frames:
        state, sr = advance(state, frame)

    # The same as one compiled program; gradients pass through it as well.
    @jax.jit
    def roll(state, frames):
        return jax.lax.scan(advance, state, frames)

    start = init_state(config, batch, height, width, seed=0)
    _, scanned = roll(start, lr_frames)

    last = scanned[-1]
    # Two programs round in other places.
    difference = jnp.abs(last - sr)
    apart = float(difference.max())
    _, height, width, _ = sr.shape
    size = f"{width}x{height}"
    print(f"{num_frames} frames of {size}, loop and scan {apart:.1g} apart")


if __name__ == "__main__":
    main(*sys.argv[1:])
