"""The pure function and its state, for those who build on JAX: python pure.py IN.mp4
[MODEL].
"""

import itertools
import sys

import av
import jax
import jax.numpy as jnp
import numpy as np

from sdvsr_jax import init_state, load, prepare, step


def main(path: str, model: str = "nano") -> None:
    config, params = load(model)
    params = prepare(params, config)
    with av.open(path) as video:
        clip = [
            f.to_ndarray(format="rgb24")
            for f in itertools.islice(video.decode(video=0), 4)
        ]
    lr_frames = (
        jnp.asarray(np.stack(clip)[:, None], jnp.float32) / 127.5 - 1
    )  # [frame, batch, h, w, 3] in [-1, 1]

    state = init_state(config, 1, *lr_frames.shape[2:4], seed=0)
    advance = jax.jit(lambda state, frame: step(params, state, frame, config=config))
    for frame in lr_frames:
        state, sr = advance(state, frame)

    # The same as one compiled program; gradients pass through it as well.
    start = init_state(config, 1, *lr_frames.shape[2:4], seed=0)
    _, scanned = jax.jit(lambda state, frames: jax.lax.scan(advance, state, frames))(
        start, lr_frames
    )
    apart = float(jnp.abs(scanned[-1] - sr).max())
    print(
        f"{len(lr_frames)} frames of {sr.shape[2]}x{sr.shape[1]}, loop and scan {apart:.1g} apart"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
