"""Our step against its PyTorch equivalent in one run: the same weights, noise and
frames, taking turns.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import clock
from benchmarks.latency import Row
from benchmarks.precisions import in_precision
from benchmarks.weights import noise_frame, prepared_params, random_params
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.stream import compiled_step, frame_noise, init_state, padded_size
from sdvsr_jax.types import Params

NEEDED = {"nano": ("torch",), "stream_diffvsr": ("torch", "torchvision", "diffusers")}
CHECKED = 3
"""Frames whose outputs are compared: the first, and two with history."""


def missing(config: ModelConfig) -> list[str]:
    """Libraries that the comparison needs and that are not installed."""
    kind = "nano" if isinstance(config.flow, FlowNetConfig) else "stream_diffvsr"
    return [name for name in NEEDED[kind] if importlib.util.find_spec(name) is None]


class Stream:
    """A video stream that is driven one frame per call and waits for the result."""

    def __init__(
        self, advance: Callable[[int], Any], to_numpy: Callable[[Any], np.ndarray]
    ) -> None:
        self._advance, self._to_numpy, self._index = advance, to_numpy, 0
        self.outputs: list[np.ndarray] = []

    def __call__(self) -> None:
        sr = self._advance(self._index)
        self._index += 1
        if len(self.outputs) < CHECKED:
            self.outputs.append(self._to_numpy(sr))


def compare(
    config: ModelConfig,
    width: int,
    height: int,
    rounds: int,
    *,
    precisions: tuple[str, ...],
    torch_modes: tuple[str, ...],
    raw: Params | None = None,
    say: Callable[[str], None] = print,
    keep: Callable[[list[Row]], None] = lambda _: None,
) -> list[Row]:
    """One row per implementation; ``error`` is the relative difference of the frames
    from our float32 ones.

    An implementation that cannot run here gets a row that says why. ``keep`` gets the
    rows that there are after every implementation, timed alone: compilers are slow, and
    a run may be stopped.
    """
    raw = random_params(config) if raw is None else raw
    reference = _ours(
        dataclasses.replace(config, compute_dtype="float32"), raw, width, height
    )
    for _ in range(CHECKED):
        reference()
    streams, notes, alone = {}, {}, []
    for precision in precisions:
        ours = in_precision(config, precision)
        makers = {"sdvsr_jax": functools.partial(_ours, ours, raw, width, height)}
        if (
            device_kind()[0] == "cuda"
        ):  # behind the plain program, which has loaded its kernels
            makers["sdvsr_jax graphs"] = functools.partial(
                _ours, ours, raw, width, height, graphs=True
            )
        for mode in torch_modes if ours.quantized == "none" else ():
            makers[f"torch {mode}"] = functools.partial(
                _theirs, ours, raw, width, height, mode
            )
        for name, make in makers.items():
            say(f"         {name} {precision}")
            try:
                stream = make()
                for _ in range(CHECKED):
                    stream()
                streams[name, precision] = stream
                times = clock.in_turns({name: stream}, min(rounds, 3))[name]
                alone.append(
                    _timed(
                        config, name, precision, width, height, times, stream, reference
                    )
                )
                keep([row | {"note": "timed alone"} for row in alone])
            # of somebody else's compiler, say; the rest is still worth having
            except Exception as error:
                notes[name, precision] = " ".join(str(error).split())[:200]
    times = clock.in_turns(
        {f"{name}|{p}": s for (name, p), s in streams.items()}, rounds
    )
    rows = []
    for (name, precision), stream in streams.items():
        found = times[f"{name}|{precision}"]
        rows.append(
            _timed(config, name, precision, width, height, found, stream, reference)
        )
    rows += [
        _row(config, name, p, width, height) | {"note": note}
        for (name, p), note in notes.items()
    ]
    return rows


def _row(
    config: ModelConfig, what: str, precision: str, width: int, height: int
) -> Row:
    steps = config.diffusion.num_steps
    return {
        "what": what,
        "model": config.name,
        "lr": [width, height],
        "batch": 1,
        "precision": precision,
        "steps": steps,
    }


def _timed(
    config: ModelConfig,
    what: str,
    precision: str,
    width: int,
    height: int,
    times: clock.Times,
    stream: Stream,
    reference: Stream,
) -> Row:
    error = max(_difference(a, b) for a, b in zip(stream.outputs, reference.outputs))
    return _row(config, what, precision, width, height) | {
        "median_ms": 1e3 * times.median,
        "p95_ms": 1e3 * times.p95,
        "frames_per_s": 1 / times.median,
        "error": error,
    }


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _ours(
    config: ModelConfig, raw: Params, width: int, height: int, *, graphs: bool = False
) -> Stream:
    params, state = prepared_params(config, raw), init_state(config, 1, height, width)
    run = compiled_step(config, graphs=graphs)

    def advance(index: int) -> jax.Array:
        nonlocal state
        state, sr = run(params, state, noise_frame(width, height, seed=index % CHECKED))
        return jax.block_until_ready(sr)

    return Stream(advance, np.asarray)


def _theirs(
    config: ModelConfig, raw: Params, width: int, height: int, mode: str
) -> Stream:
    if (height, width) != padded_size(height, width, config):
        raise ValueError(
            f"{width}x{height} is padded by our step, the PyTorch form does not do that"
        )
    from benchmarks import torch_stream

    prepared = dataclasses.replace(config, compute_dtype="float32")
    weights = (
        prepared_params(prepared, raw)
        if isinstance(config.flow, FlowNetConfig)
        else raw
    )
    run, to_numpy = torch_stream.runner(config, weights, mode)
    state = init_state(config, 1, height, width)

    def advance(index: int) -> Any:
        noise = frame_noise(
            state._replace(frame_index=jnp.full(1, index)), (height, width), config
        )
        return run(noise_frame(width, height, seed=index % CHECKED), noise)

    return Stream(advance, to_numpy)
