"""16-bit activations: how far from float32, stated and held; and the switches that
trade exactness for speed.
"""

import dataclasses
import functools
from pathlib import Path

import av
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from sdvsr_jax import ModelConfig, init_state, load, prepare, step
from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.flops import frame_flops
from sdvsr_jax.history import _flows, flow_input
from sdvsr_jax.models.flow.raft import RAFT
from sdvsr_jax.networks import bind
from sdvsr_jax.ops.resize import resize_linear, upsample_bicubic
from sdvsr_jax.types import Params
from sdvsr_jax.weights.torch_names import flatten

CLIP = Path(__file__).parents[1] / "examples" / "nasa_320x180.mp4"
PUBLISHED_ERROR = 0.03
"""rms(bfloat16 - float32) / rms(float32) of the published form's second frame: random
weights amplify more than trained ones, and 8 bits of mantissa round by 0.004 once.
"""
NANO_PSNR = 45.0
"""dB between nano's frames in bfloat16 and in float32: far above what separates either
from the truth.
"""


def run(config: ModelConfig, params: Params, frames: np.ndarray) -> np.ndarray:
    state = init_state(config, frames.shape[1], *frames.shape[2:4])
    prepared = prepare(params, config)
    advance = jax.jit(functools.partial(step, config=config))
    outputs = []
    for frame in frames:
        state, sr = advance(prepared, state, jnp.asarray(frame))
        outputs.append(np.asarray(sr))
    return np.stack(outputs)


def test_the_published_form_in_bfloat16_is_near_float32() -> None:
    config = dataclasses.replace(
        tiny_models.tiny_published(), flow=tiny_models.tiny_nano().flow
    )
    params, frames = tiny_models.random_params(config), tiny_models.frames(2)
    exact = run(config, params, frames)
    half = run(dataclasses.replace(config, compute_dtype="bfloat16"), params, frames)
    assert half.dtype == np.float32
    error = np.sqrt(np.mean((half - exact) ** 2) / np.mean(exact**2))
    assert 0 < error < PUBLISHED_ERROR


@pytest.mark.parametrize("form", tiny_models.TINY)
def test_kernels_in_the_order_of_a_gpu_give_the_same_frames(form, monkeypatch) -> None:
    config = dataclasses.replace(
        tiny_models.TINY[form](), flow=tiny_models.tiny_nano().flow
    )
    params, frames = (
        tiny_models.random_params(config),
        tiny_models.frames(2, height=34, width=38),
    )
    expected = run(config, params, frames)
    monkeypatch.setattr("sdvsr_jax.networks.device_kind", lambda: ("cuda", 9.0))
    assert {
        leaf.ndim
        for path, leaf in flatten(prepare(params, config)["unet"]).items()
        if path[-1] == "kernel"
    } <= {2}
    # sums in another order: float32's rounding of values near 1, through a few dozen
    # layers
    np.testing.assert_allclose(run(config, params, frames), expected, atol=2e-5)


def clip_frames() -> np.ndarray:
    """Two frames of a real clip, [2, 1, 64, 96, 3] in [-1, 1]."""
    with av.open(str(CLIP)) as container:
        decoded = [
            f.to_ndarray(format="rgb24")
            for f, _ in zip(container.decode(video=0), range(2))
        ]
    return np.stack(decoded)[:, None, 60:124, 100:196].astype(np.float32) / 127.5 - 1


def test_nano_in_bfloat16_is_near_float32_on_a_real_clip() -> None:
    (config, params), frames = load("nano"), clip_frames()
    exact = run(config, params, frames)
    half = run(dataclasses.replace(config, compute_dtype="bfloat16"), params, frames)
    error = np.mean((np.clip(half, -1, 1) / 2 - np.clip(exact, -1, 1) / 2) ** 2)
    assert error < 10 ** (-NANO_PSNR / 10)


def test_guiding_once_is_the_same_where_there_is_one_step_and_saves_the_others() -> (
    None
):
    base, params = (
        tiny_models.tiny_nano(),
        tiny_models.random_params(tiny_models.tiny_nano()),
    )
    saved = {}
    for steps in (1, 2, 4):
        config = dataclasses.replace(
            base, diffusion=dataclasses.replace(base.diffusion, num_steps=steps)
        )
        once = dataclasses.replace(config, guide_once=True)
        saved[steps] = frame_flops(config, 36, 32) - frame_flops(once, 36, 32)
        if steps == 1:
            frames = tiny_models.frames(2)
            assert np.array_equal(
                run(config, params, frames), run(once, params, frames)
            )
    assert saved[1] == 0
    assert saved[4] == 3 * saved[2] > 0


@pytest.mark.heavy
def test_flow_of_lr_frames_is_resized_and_its_pixels_rescaled() -> None:
    # A size that RAFT does not accept, so that it is padded and cut again.
    size = (16, 20)
    flow = RAFTConfig(channels=8, num_updates=2, resolution="lr")
    config = dataclasses.replace(tiny_models.tiny_published(), flow=flow)
    params = tiny_models.random_params(config)
    frames = jnp.asarray(tiny_models.frames(2, 1, *size))

    @jax.jit
    def flows(now: jax.Array, before: jax.Array) -> tuple[jax.Array, ...]:
        nets, up = bind(params, config), upsample_bicubic(now, 4)
        features = [
            nets.flow.features(flow_input(f, up, config)) for f in (now, before)
        ]
        return *_flows(nets, *features, now, up, config), features[0]

    small, large, features = flows(frames[1], frames[0])
    assert small.shape == (1, *size, 2)
    np.testing.assert_allclose(
        large, 4 * resize_linear(small, 4 * size[0], 4 * size[1]), rtol=1e-5
    )
    assert jnp.abs(small).max() > 0
    full = dataclasses.replace(config, flow=dataclasses.replace(flow, resolution="sr"))
    assert frame_flops(config, 64, 64) < frame_flops(full, 64, 64)
    assert init_state(config, 1, *size).flow_features.shape == features.shape


@pytest.mark.heavy
def test_raft_in_bfloat16_keeps_its_flow_in_float32() -> None:
    image = jnp.asarray(tiny_models.frames(2, 1, 64, 64))
    exact = RAFTConfig(channels=8, num_updates=3)
    params = tiny_models.random_params(
        dataclasses.replace(tiny_models.tiny_published(), flow=exact)
    )["flow"]

    @functools.partial(jax.jit, static_argnums=0)
    def flow(dtype: type) -> jax.Array:
        net = RAFT(exact, dtype).bind({"params": params})
        return net(image[1], net.features(image[1]), net.features(image[0]))

    half, full = flow(jnp.bfloat16), flow(jnp.float32)
    assert half.dtype == jnp.float32
    # Random weights make flows of many pixels; what counts is that they agree relative
    # to that.
    assert 0 < jnp.sqrt(jnp.mean((half - full) ** 2) / jnp.mean(full**2)) < 0.1
