"""Two kernels written by hand (Pallas) beside what XLA makes of the same layers on an
NVIDIA GPU.

A feed-forward's first product with its gate on the way out, so that the product, eight
times as wide as its input, is never written; and the sums of a group norm, read in
larger pieces. They are to answer whether written kernels would pay, and are no part of
the model: Pallas' Triton backend is deprecated and may be gone from the next JAX.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from benchmarks import clock
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.models.layers import GEGLU, GroupNorm
from sdvsr_jax.stream import padded_size
from sdvsr_jax.types import Array, PyTree

EPSILON = 1e-5
CALLS = 8
"""Inputs in one program."""


class Tile(NamedTuple):
    """Rows and columns of the result per program, depth of a step, and how Triton is to
    run it.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


TILES = (
    Tile(128, 128, 64, 8, 3),
    Tile(128, 64, 64, 4, 4),
    Tile(64, 128, 64, 4, 4),
    Tile(128, 128, 32, 8, 4),
)


def geglu(
    x: Array, kernel: Array, bias: Array, tile: Tile, *, interpret: bool = False
) -> Array:
    """value * gelu(gate) of x [m, c] times kernel [c, 2 n]: [m, n]. c and n are
    multiples of the tile.
    """
    (m, depth), n = x.shape, kernel.shape[1] // 2
    gates = n // tile.columns

    def of(side: int) -> tuple[pl.BlockSpec, pl.BlockSpec]:
        return (
            pl.BlockSpec((depth, tile.columns), lambda i, j: (0, side * gates + j)),
            pl.BlockSpec((tile.columns,), lambda i, j: (side * gates + j,)),
        )

    (values, value_bias), (gate, gate_bias) = of(0), of(1)
    return pl.pallas_call(
        functools.partial(_geglu, tile=tile, m=m),
        grid=(pl.cdiv(m, tile.rows), gates),
        in_specs=[
            pl.BlockSpec((tile.rows, depth), lambda i, j: (i, 0)),
            values,
            gate,
            value_bias,
            gate_bias,
        ],
        out_specs=pl.BlockSpec((tile.rows, tile.columns), lambda i, j: (i, j)),
        out_shape=jax.ShapeDtypeStruct((m, n), x.dtype),
        compiler_params=plgpu.CompilerParams(
            num_warps=tile.warps, num_stages=tile.stages
        ),
        interpret=interpret,
    )(x, kernel, kernel, bias, bias)


def _geglu(
    x: Any,
    values: Any,
    gates: Any,
    value_bias: Any,
    gate_bias: Any,
    out: Any,
    *,
    tile: Tile,
    m: int,
) -> None:
    inside = (pl.program_id(0) * tile.rows + jnp.arange(tile.rows) < m)[:, None]

    def add(step: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        here = pl.ds(step * tile.depth, tile.depth)
        part = plgpu.load(
            x.at[:, here],
            mask=jnp.broadcast_to(inside, (tile.rows, tile.depth)),
            other=0,
        )
        product = functools.partial(jnp.dot, part, preferred_element_type=jnp.float32)
        return sums[0] + product(values[here, :]), sums[1] + product(gates[here, :])

    zeros = jnp.zeros((tile.rows, tile.columns), jnp.float32)
    value, gate = jax.lax.fori_loop(0, x.shape[1] // tile.depth, add, (zeros, zeros))
    value, gate = (
        value + value_bias[...].astype(jnp.float32),
        gate + gate_bias[...].astype(jnp.float32),
    )
    result = value * gate * (0.5 + 0.5 * _erf(gate * math.sqrt(0.5)))
    plgpu.store(
        out, result.astype(out.dtype), mask=jnp.broadcast_to(inside, result.shape)
    )


def _erf(x: Array) -> Array:
    """To 1.5e-7 (Abramowitz and Stegun 7.1.26): the backend has no erf."""
    t = 1 / (1 + 0.3275911 * jnp.abs(x))
    a = t * (
        0.254829592
        + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    y = 1 - a * jnp.exp(-jnp.square(x))
    return jnp.where(x < 0, -y, y)


def group_norm(
    x: Array, scale: Array, bias: Array, groups: int, *, interpret: bool = False
) -> Array:
    """`layers.GroupNorm` of one frame [h, w, c], its first sums by `row_sums`."""
    height, width, channels = x.shape
    middle = x[height // 2, width // 2].astype(jnp.float32).reshape(groups, -1)
    sums = row_sums(
        x.reshape(-1, channels), height // 2 * width + width // 2, interpret=interpret
    )
    offset, square = (a.reshape(groups, channels // groups, -1) for a in sums)
    step, rows = (middle - middle[:, :1])[..., None], height * width // offset.shape[-1]
    sums = (offset + step * rows, square + step * (2 * offset + step * rows))
    offset, square = (
        a.reshape(groups, -1).sum(-1) / (height * width * channels // groups)
        for a in sums
    )
    gain = jax.lax.rsqrt(jnp.maximum(square - jnp.square(offset), 0) + EPSILON)
    gain, mean = (
        jnp.repeat(a, channels // groups) for a in (gain, middle[:, 0] + offset)
    )
    gain = gain * scale
    return (x.astype(jnp.float32) * gain + (bias - mean * gain)).astype(x.dtype)


def row_sums(x: Array, middle: int, *, interpret: bool = False) -> tuple[Array, Array]:
    """Sums over pieces of rows of x [n, c]: of the distance from row ``middle``, of its
    square; [c, pieces].
    """
    n, channels = x.shape
    rows, columns = min(256, n & -n), 64
    part = pl.BlockSpec((columns, 1), lambda i, j: (j, i))
    shape = jax.ShapeDtypeStruct((channels, n // rows), jnp.float32)
    return pl.pallas_call(
        _row_sums,
        grid=(n // rows, channels // columns),
        in_specs=[
            pl.BlockSpec((rows, columns), lambda i, j: (i, j)),
            pl.BlockSpec((1, columns), lambda i, j: (middle, j)),
        ],
        out_specs=(part, part),
        out_shape=(shape, shape),
        compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=1),
        interpret=interpret,
    )(x, x)


def _row_sums(x: Any, middle: Any, offsets: Any, squares: Any) -> None:
    distance = x[...].astype(jnp.float32) - middle[...].astype(jnp.float32)
    offsets[:, 0] = distance.sum(0)
    squares[:, 0] = jnp.square(distance).sum(0)


def measure(
    config: ModelConfig, width: int, height: int, rounds: int
) -> list[dict[str, Any]]:
    """A row per layer and level of the U-Net: microseconds of XLA's kernels and of the
    best written ones.
    """
    height, width = padded_size(height, width, config)
    rows, dtype, groups = [], jnp.dtype(config.compute_dtype), config.unet.num_groups
    for level, (channels, attention) in enumerate(
        zip(config.unet.block_channels, config.unet.attention)
    ):
        h, w = (-(-size // 2**level) for size in (height, width))
        frames = jax.random.normal(jax.random.key(0), (CALLS, h, w, channels), dtype)
        norm = GroupNorm(groups, EPSILON, dtype)
        weights = {"scale": jnp.ones(channels), "bias": jnp.zeros(channels)}
        forms = {
            "XLA": lambda p, x, norm=norm: nn.silu(
                norm.apply({"params": p}, x[None])[0]
            ),
            "256 rows, 64 channels": lambda p, x: nn.silu(
                group_norm(x, p["scale"], p["bias"], groups)
            ),
        }
        rows.append(
            {"layer": f"group norm, silu: {w}x{h}x{channels}"}
            | compared(forms, weights, frames, rounds)
        )
        if attention != "none":
            tokens, layer = (
                frames.reshape(CALLS, h * w, channels),
                GEGLU(4 * channels, dtype),
            )
            weights = layer.init(jax.random.key(1), tokens[0])["params"]["proj"]
            weights = jax.tree.map(lambda a: a.astype(dtype), weights)
            forms = {
                "XLA": lambda p, x, layer=layer: layer.apply({"params": {"proj": p}}, x)
            } | {
                str(tuple(tile)): lambda p, x, tile=tile: geglu(
                    x, p["kernel"], p["bias"], tile
                )
                for tile in TILES
            }
            rows.append(
                {"layer": f"GEGLU: {h * w}x{channels}"}
                | compared(forms, weights, tokens, rounds)
            )
    return rows


def compared(
    forms: dict[str, Callable], weights: PyTree, inputs: Array, rounds: int
) -> dict[str, Any]:
    """Microseconds of the first form and of the fastest other one, their ratio and
    relative difference.

    ``inputs`` are worked on in one program, as launching it would take longer than a
    small layer.
    """
    calls, outputs, refused = {}, {}, {}
    for name, form in forms.items():
        try:
            program = jax.jit(lambda p, xs, form=form: [form(p, x) for x in xs])
            outputs[name] = program(weights, inputs)[0].astype(jnp.float32)
            calls[name] = functools.partial(_wait, program, weights, inputs)
        except (
            jax.errors.JaxRuntimeError,
            NotImplementedError,
            ValueError,
        ) as error:  # more memory than a core has
            refused[name] = " ".join(str(error).split())[:120]
    times = {
        name: t.median / len(inputs)
        for name, t in clock.in_turns(calls, rounds).items()
    }
    plain = next(iter(forms))
    if others := [name for name in times if name != plain]:
        best = min(others, key=times.__getitem__)
        exact = outputs[plain]
        found = {
            "written us": 1e6 * times[best],
            "of XLA's time": times[best] / times[plain],
            "tile": best,
            "difference": float(
                jnp.linalg.norm(outputs[best] - exact) / jnp.linalg.norm(exact)
            ),
        }
    else:
        found = {"refused": next(iter(refused.values()), "")}
    return {"XLA us": 1e6 * times[plain]} | found


def _wait(program: Callable, *arguments: Any) -> None:
    jax.block_until_ready(program(*arguments))
