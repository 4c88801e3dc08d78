"""8-bit products: how far from the full ones, where, and that nothing else of the
stream changes.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from test_precision import clip_frames, run

from sdvsr_jax import load, prepare
from sdvsr_jax.ops import quantized
from sdvsr_jax.ops.subpixel import HWIO
from sdvsr_jax.weights.torch_names import flatten

DTYPES = sorted(quantized.DTYPES)
PUBLISHED_ERROR = {"int8": 0.03, "float8": 0.06}
"""rms of the difference to rms of the published form's frames, with random weights;
bfloat16: 0.03.
"""
NANO_PSNR = 50.0
"""dB between nano's frames with int8 and without: its distance from the truth is 30 dB.
"""


def random(*shape: int, seed: int = 0) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@given(
    values=st.lists(
        st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
        min_size=1,
        max_size=20,
    ),
    kind=st.sampled_from(DTYPES),
)
@settings(max_examples=200, deadline=None)
def test_values_times_scale_are_near_the_numbers(
    values: list[float], kind: str
) -> None:
    x = np.array(values, np.float32)
    found, scale = quantized.quantize(jnp.asarray(x), 0, quantized.DTYPES[kind])
    error = np.abs(x - np.asarray(found, np.float32) * np.asarray(scale))
    # half a step of integers; 3 bits of mantissa, and the least float8 is 2**-9
    allowed = (
        0.5 * scale if kind == "int8" else np.maximum(np.abs(x) / 16, 2.0**-10 * scale)
    )
    assert (error <= allowed * (1 + 1e-5)).all()


@pytest.mark.parametrize("kind", DTYPES)
def test_a_scale_of_the_input_is_one_of_the_output_and_tokens_are_alone(
    kind: str,
) -> None:
    x, (kernel, scale) = (
        random(2, 3, 16),
        quantized.quantize(random(16, 5, seed=1), 0, quantized.DTYPES[kind]),
    )
    y = quantized.product(x, kernel, scale[0])
    factors = jnp.asarray([[1, 2, 0.125], [64, 1, 0]])[..., None]
    assert np.array_equal(quantized.product(factors * x, kernel, scale[0]), factors * y)
    exact = x @ (kernel.astype(jnp.float32) * scale)
    # the input's rounding: 3 bits of mantissa are off by 0.026 (rms), 1/127 of the
    # largest by less
    assert 0 < jnp.linalg.norm(y - exact) < 0.03 * jnp.linalg.norm(exact)


def test_frames_of_a_batch_do_not_see_each_other() -> None:
    x, (kernel, scale) = (
        random(3, 6, 5, 8),
        quantized.quantize(random(3, 3, 8, 4, seed=1), (0, 1, 2), jnp.int8),
    )
    factors = jnp.asarray([1, 4, 0.5])[:, None, None, None]

    def convolution(x: jnp.ndarray) -> jnp.ndarray:
        return quantized.convolution(
            x, kernel, scale.reshape(-1), 1, [(1, 1), (1, 1)], HWIO
        )

    y = convolution(x)
    assert np.array_equal(convolution(factors * x), factors * y)
    for i in range(3):
        np.testing.assert_allclose(
            convolution(x[i : i + 1]), y[i : i + 1], rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("kind", DTYPES)
def test_numbers_of_8_bits_as_on_a_gpu_and_the_same_in_float32_agree(
    kind: str, monkeypatch
) -> None:
    def outputs() -> list[jnp.ndarray]:
        kernel, scale = quantized.quantize(
            random(40, 8, seed=1), 0, quantized.DTYPES[kind]
        )
        found = [quantized.product(random(2, 7, 40), kernel, scale[0])]
        if kind == "int8":
            kernel, scale = quantized.quantize(
                random(3, 3, 8, 4, seed=1), (0, 1, 2), jnp.int8
            )
            arguments = (kernel, scale.reshape(-1), 2, [(1, 1), (1, 1)], HWIO)
            found.append(quantized.convolution(random(2, 6, 5, 8), *arguments))
        return found

    expected = outputs()
    monkeypatch.setattr(quantized, "device_kind", lambda: ("cuda", 9.0))
    for found, same in zip(outputs(), expected):
        np.testing.assert_allclose(found, same, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", DTYPES)
def test_the_published_form_is_about_as_near_as_in_bfloat16(kind: str) -> None:
    config = dataclasses.replace(
        tiny_models.tiny_published(), flow=tiny_models.tiny_nano().flow
    )
    params, frames = tiny_models.random_params(config), tiny_models.frames(2)
    exact = run(config, params, frames)
    found = run(dataclasses.replace(config, quantized=kind), params, frames)
    assert (
        0
        < np.linalg.norm(found - exact)
        < PUBLISHED_ERROR[kind] * np.linalg.norm(exact)
    )


def test_nano_with_int8_is_near_float32_on_a_real_clip() -> None:
    (config, params), frames = load("nano"), clip_frames()
    exact, found = (
        run(dataclasses.replace(config, quantized=kind), params, frames)
        for kind in ("none", "int8")
    )
    error = np.mean((np.clip(found, -1, 1) / 2 - np.clip(exact, -1, 1) / 2) ** 2)
    assert 0 < error < 10 ** (-NANO_PSNR / 10)


def test_which_layers_have_8_bits() -> None:
    config = tiny_models.tiny_published()
    raw = tiny_models.random_params(config)

    def layers(kind: str) -> dict[str, int]:
        """Their names and the rank of their kernels."""
        flat = flatten(prepare(raw, dataclasses.replace(config, quantized=kind)))
        found = [path[:-1] for path in flat if path[-1] == "kernel_scale"]
        assert {flat[*path, "kernel"].dtype for path in found} == {
            jnp.dtype(quantized.DTYPES[kind])
        }
        return {"/".join(path): flat[*path, "kernel"].ndim for path in found}

    found = layers("int8")
    for part in ("unet", "controlnet"):
        block, transformer = (
            f"{part}/down_blocks_0",
            f"{part}/down_blocks_0/attentions_0/transformer_blocks_0",
        )
        assert {
            f"{block}/resnets_0/conv1",
            f"{block}/downsamplers_0/conv",
        } <= found.keys()
        assert {
            f"{transformer}/{n}"
            for n in ("attn1/to_q", "attn1/to_out_0", "ff/net_0/proj")
        } <= found.keys()
        assert found.keys().isdisjoint(
            {f"{part}/conv_in", f"{part}/time_embedding/linear_1"}
        )
        assert found.keys().isdisjoint({f"{block}/resnets_0/time_emb_proj"})
    assert any(name.startswith("vae/decoder/") for name in found)
    assert found.keys().isdisjoint({"unet/conv_out", "vae/decoder/layers_0"})
    # XLA has no convolution of float8
    assert layers("float8") == {name: rank for name, rank in found.items() if rank == 2}
