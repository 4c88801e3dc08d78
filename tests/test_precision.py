"""16-bit activations, and kernels in the order of a GPU: how far from float32."""

import dataclasses
import functools
import itertools
from pathlib import Path

import av
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
from flax.traverse_util import flatten_dict

from sdvsr_jax import (
    ModelConfig,
    Prepared,
    compile_step,
    init_state,
    load,
    prepare,
    stream,
)
from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.models.flow.raft import RAFT
from sdvsr_jax.prepare import _prepare
from sdvsr_jax.types import Params

CLIP = Path(__file__).parents[1] / "examples" / "nasa_320x180.mp4"
PUBLISHED_ERROR = 0.03
"""rms(bfloat16 - float32) / rms(float32) of the published form's second frame: random
weights amplify more than trained ones, and 8 bits of mantissa round by 0.004 once.
"""
NANO_PSNR = 45.0
"""dB between nano's frames in bfloat16 and in float32: far above what separates either
from the truth.
"""


def run(
    config: ModelConfig, params: Params | Prepared, frames: np.ndarray
) -> np.ndarray:
    """All frames through the step, which gets raw parameters prepared."""
    prepared = params if isinstance(params, Prepared) else prepare(params, config)
    _, batch, height, width, _ = frames.shape
    state = init_state(config, batch, height, width)
    outputs = stream(compile_step(config), prepared, state, frames)
    return np.stack([np.asarray(sr) for sr in outputs])


@pytest.mark.heavy(40)
def test_the_published_form_in_bfloat16_is_near_float32() -> None:
    config = dataclasses.replace(
        tiny_models.tiny_published(), flow=tiny_models.tiny_nano().flow
    )
    half_config = dataclasses.replace(config, compute_dtype="bfloat16")
    params = tiny_models.random_params(config)
    frames = tiny_models.frames(2)
    exact = run(config, params, frames)
    half = run(half_config, params, frames)
    assert half.dtype == np.float32
    assert 0 < relative_error(half, exact) < PUBLISHED_ERROR


def relative_error(values: np.ndarray, exact: np.ndarray) -> float:
    """rms(difference) / rms(exact)."""
    share = np.mean((values - exact) ** 2) / np.mean(exact**2)
    return float(np.sqrt(share))


@pytest.mark.parametrize(
    # `restored` holds all of `nano`
    "form",
    [pytest.param("published", marks=pytest.mark.heavy(40)), "restored"],
)
def test_kernels_in_the_order_of_a_gpu_give_the_same_frames(form: str) -> None:
    config = dataclasses.replace(
        tiny_models.TINY[form](), flow=tiny_models.tiny_nano().flow
    )
    params = tiny_models.random_params(config)
    frames = tiny_models.frames(2, height=34, width=38)
    expected = run(config, params, frames)
    prepared = _prepare(params, config, True)
    leaves = flatten_dict(prepared.params["unet"])
    kernels = [leaf for path, leaf in leaves.items() if path[-1] == "kernel"]
    # of convolutions none is left in the order of a CPU
    assert {leaf.ndim for leaf in kernels} <= {2}
    outputs = run(config, prepared, frames)
    # sums in another order: float32's rounding of values near 1, through a few dozen
    # layers
    np.testing.assert_allclose(outputs, expected, atol=2e-5)


def clip_frames() -> np.ndarray:
    """Two frames of a real clip, [2, 1, 64, 96, 3] in [-1, 1]."""
    with av.open(str(CLIP)) as container:
        decoded = itertools.islice(container.decode(video=0), 2)
        pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    # a part with edges, small enough for seconds
    part = pixels[:, None, 60:124, 100:196]
    return part.astype(np.float32) / 127.5 - 1


def test_nano_in_bfloat16_is_near_float32_on_a_real_clip() -> None:
    config, params = load("nano")
    half_config = dataclasses.replace(config, compute_dtype="bfloat16")
    frames = clip_frames()
    exact = np.clip(run(config, params, frames), -1, 1)
    half = np.clip(run(half_config, params, frames), -1, 1)
    # of pixels in [0, 1]
    difference = (half - exact) / 2
    error = np.mean(difference**2)
    psnr = -10 * np.log10(error)
    assert psnr > NANO_PSNR


@pytest.mark.heavy
def test_raft_in_bfloat16_keeps_its_flow_in_float32() -> None:
    image = jnp.asarray(tiny_models.frames(2, 1, 64, 64))
    exact = RAFTConfig(channels=8, num_updates=3)
    config = dataclasses.replace(tiny_models.tiny_published(), flow=exact)
    params = tiny_models.random_params(config)["flow"]

    @functools.partial(jax.jit, static_argnums=0)
    def flow(dtype: str) -> jax.Array:
        settings = dataclasses.replace(exact, dtype=dtype)
        net = RAFT(settings).bind({"params": params})
        previous, current = image
        features = net.features(current)
        return net(current, features, net.features(previous))

    half = flow("bfloat16")
    full = flow("float32")
    assert half.dtype == jnp.float32
    # random weights make flows of many pixels: they agree relative to that
    error = relative_error(np.asarray(half), np.asarray(full))
    assert 0 < error < 0.1
