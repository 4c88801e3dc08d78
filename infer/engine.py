"""The compiled step for one frame size: uint8 or uint16 pixels in, the same kind out, everything else on device."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infer import compile_cache
from infer.programs import program
from sdvsr_jax import checkpoint, networks
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.state import StreamState
from sdvsr_jax.stream import init_state, step
from sdvsr_jax.types import Array, Params

Device = Any
"""A `jax.Device`, which type checkers take for a variable."""


def upscale_pixels(
    params: Params, state: StreamState, pixels: Array, *, config: ModelConfig, size: tuple[int, int]
) -> tuple[StreamState, Array]:
    """One frame [h, w, 3] uint8/uint16 -> [H, W, 3] of the same kind, ``size`` = (W, H).

    Sizes other than scale x the input are made by an antialiased Lanczos filter on the unclamped float frame, so
    there is one rounding only and only the wanted pixels leave the device.
    """
    top = jnp.iinfo(pixels.dtype).max
    lr = pixels[None].astype(jnp.float32) * (2 / top) - 1
    state, sr = step(params, state, lr, config=config)
    width, height = size
    if sr.shape[1:3] != (height, width):
        sr = jax.image.resize(sr, (1, height, width, 3), "lanczos3", antialias=True)
    return state, jnp.round(top * jnp.clip(sr[0] / 2 + 0.5, 0, 1)).astype(pixels.dtype)


@dataclass(frozen=True, eq=False)
class Model:
    """Weights ready on a device; equal only to itself."""

    name: str
    config: ModelConfig
    params: Params
    device: Device


@functools.lru_cache(maxsize=1)
def load_model(
    name: str,
    device: str = "auto",
    precision: str | None = None,
    steps: int | None = None,
    flow_weights: str | None = None,
    offline: bool = False,
) -> Model:
    """Load, adapt and place a model; the last one is kept. ValueError for an unknown model or device."""
    compile_cache.use()
    target = find_device(device)
    config, params = checkpoint.load(name, flow_weights=flow_weights, offline=offline, complete=False)
    if precision is not None:
        config = replace(config, compute_dtype=precision)
    if steps is not None:
        config = replace(config, diffusion=replace(config.diffusion, num_steps=steps))
    with jax.default_device(target):
        make = functools.partial(_checked_prepare, name, params, config)
        prepared = program("prepare", (config,), make, (params,)).compile(params)(params)
    return Model(name, config, jax.device_put(prepared, target), target)


def _checked_prepare(name: str, params: Params, config: ModelConfig) -> Callable[[Params], Params]:
    checkpoint.check_complete(name, params, config)
    return functools.partial(networks.prepare, config=config)


def find_device(name: str) -> Device:
    """'auto', 'cpu', 'gpu' or 'gpu:1' -> the device."""
    kind, _, number = name.partition(":")
    if kind == "cpu":
        jax.config.update("jax_platforms", "cpu")  # leaves an accelerator beside it alone
    try:
        devices = jax.devices() if kind == "auto" else jax.devices(kind)
        return devices[int(number or 0)]
    except (RuntimeError, IndexError, ValueError):
        found = ", ".join(f"{d.platform}:{d.id}" for d in jax.devices())
        raise ValueError(f"--device {name}: not here; found {found}") from None


@dataclass(frozen=True)
class Memory:
    """Predicted bytes: on the device (weights, state, temporaries) and in the host's frame queues."""

    device: int
    host: int


class Engine:
    """The step compiled for one input size, kind of pixels and output size."""

    def __init__(self, model: Model, width: int, height: int, deep: bool, size: tuple[int, int]) -> None:
        self.model, self.size = model, size
        self._height, self._width = height, width
        self._pixels = jax.ShapeDtypeStruct((height, width, 3), jnp.uint16 if deep else jnp.uint8)
        with jax.default_device(model.device):
            start = program("start", (model.config, height, width), self._make_start, (np.uint32(0),))
            self.state_shape = start.result_shape
            self._start = start.compile(np.uint32(0))
            self._compile()

    def _compile(self) -> None:
        arguments = (self.model.params, self.state_shape, self._pixels)
        run = program("step", (self.model.config, self.size), self._make_step, arguments)
        self._run = run.compile(*arguments, donate=(1,))

    def _make_start(self) -> Callable[[Array], StreamState]:
        return lambda seed: init_state(self.model.config, 1, self._height, self._width, seed=seed)

    def _make_step(self) -> Callable:
        return functools.partial(upscale_pixels, config=self.model.config, size=self.size)

    def start(self, seed: int) -> StreamState:
        """Fresh state of one stream."""
        with jax.default_device(self.model.device):
            return self._start(np.uint32(seed % 2**32))

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """Start one frame; ``state`` is consumed. The result is on its way, not yet computed."""
        state, out = self._run(self.model.params, state, jax.device_put(pixels, self.model.device))
        out.copy_to_host_async()
        return state, out

    def snapshot(self, state: StreamState) -> StreamState:
        """A copy that outlives the next step."""
        return jax.tree.map(jnp.copy, state)

    def memory(self, frames_in: int, frames_out: int) -> Memory:
        """Prediction for a job that holds that many frames on either side of the device."""
        found: Any = self._run.memory_analysis()
        held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
        width, height = self.size
        queued = (
            3 * self._pixels.dtype.itemsize * (frames_in * self._width * self._height + frames_out * width * height)
        )
        return Memory(held + found.temp_size_in_bytes, queued)


@functools.lru_cache(maxsize=4)
def engine_for(model: Model, width: int, height: int, deep: bool, size: tuple[int, int]) -> Engine:
    """The engine for these sizes; the last few are kept, for batches of videos."""
    return Engine(model, width, height, deep, size)


def state_to_arrays(state: StreamState) -> dict[str, np.ndarray]:
    """The state as plain arrays, for a file."""
    raw = state._replace(key=jax.random.key_data(state.key))
    return {f"{i:03d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(raw))}


def state_from_arrays(engine: Engine, arrays: Mapping[str, Any]) -> StreamState:
    """The inverse of `state_to_arrays`; ValueError if they belong to another model or size."""
    shape = engine.state_shape
    raw = shape._replace(key=jax.eval_shape(jax.random.key_data, shape.key))
    leaves, tree = jax.tree.flatten(raw)
    found = [arrays[name] for name in sorted(arrays)]
    if [(a.shape, a.dtype) for a in found] != [(s.shape, s.dtype) for s in leaves]:
        raise ValueError("the saved state belongs to another model or size; use --restart")
    state: StreamState = jax.device_put(tree.unflatten(found), engine.model.device)
    return state._replace(key=jax.random.wrap_key_data(state.key))
