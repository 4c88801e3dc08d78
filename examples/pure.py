"""The pure function and its state, for those who build on JAX.

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
        clip = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    batch = jnp.asarray(clip, jnp.float32)[:, None]
    return batch / 127.5 - 1


def main(path: str, model: str = "nano") -> None:
    config, params = load(model)
    prepared = prepare(params, config)
    lr_frames = read(path, 4)
    height, width = lr_frames.shape[2:4]

    # One frame at a time, the state handed on.
    advance = jax.jit(lambda state, frame: step(prepared, state, frame, config=config))
    state = init_state(config, 1, height, width, seed=0)
    for frame in lr_frames:
        state, sr = advance(state, frame)

    # The same as one compiled program; gradients pass through it as well.
    roll = jax.jit(lambda state, frames: jax.lax.scan(advance, state, frames))
    start = init_state(config, 1, height, width, seed=0)
    _, scanned = roll(start, lr_frames)

    apart = float(jnp.abs(scanned[-1] - sr).max())
    size = f"{sr.shape[2]}x{sr.shape[1]}"
    print(f"{len(lr_frames)} frames of {size}, loop and scan {apart:.1g} apart")


if __name__ == "__main__":
    main(*sys.argv[1:])
