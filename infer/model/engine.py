"""The compiled step for one frame size: uint8 or uint16 pixels in, the same kind out,
everything else on device.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infer.model import compile_cache
from infer.model.memory import Memory, needs, size_of
from infer.model.programs import program
from sdvsr_jax import networks, snapshot
from sdvsr_jax.config import ModelConfig, RAFTConfig
from sdvsr_jax.ops.pixels import from_pixels, to_pixels
from sdvsr_jax.state import StreamState
from sdvsr_jax.stream import init_state, step
from sdvsr_jax.types import Array, Params
from sdvsr_jax.weights import load as checkpoint

Device = Any
"""A `jax.Device`, which type checkers take for a variable."""


def upscale_pixels(
    params: Params,
    state: StreamState,
    pixels: Array,
    *,
    config: ModelConfig,
    size: tuple[int, int],
) -> tuple[StreamState, Array]:
    """One frame [h, w, 3] uint8/uint16 -> [H, W, 3] of the same kind, ``size`` = (W,
    H).

    Sizes other than scale x the input are made by an antialiased Lanczos filter on the
    unclamped float frame, so there is one rounding only and only the wanted pixels
    leave the device.
    """
    state, sr = step(params, state, from_pixels(pixels[None]), config=config)
    return state, to_pixels(of_size(sr[0], size), pixels.dtype)


def of_size(sr: Array, size: tuple[int, int]) -> Array:
    """The float frame [h, w, 3] at ``size`` = (W, H)."""
    width, height = size
    if sr.shape[:2] == (height, width):
        return sr
    return jax.image.resize(sr, (height, width, 3), "lanczos3", antialias=True)


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
    """Load, adapt and place a model; the last one is kept. ValueError for an unknown
    model or device.
    """
    compile_cache.use()
    target = find_device(device)
    config, params = checkpoint.load(
        name, flow_weights=flow_weights, offline=offline, complete=False
    )
    if precision is not None:
        config = replace(config, compute_dtype=precision)
    if steps is not None:
        config = replace(config, diffusion=replace(config.diffusion, num_steps=steps))
    with jax.default_device(target):
        make = functools.partial(_checked_prepare, name, params, config)
        prepared = program("prepare", (config,), make, (params,)).compile(params)(
            params
        )
    return Model(name, config, jax.device_put(prepared, target), target)


def _checked_prepare(
    name: str, params: Params, config: ModelConfig
) -> Callable[[Params], Params]:
    checkpoint.check_complete(name, params, config)
    return functools.partial(networks.prepare, config=config)


def find_device(name: str) -> Device:
    """'auto', 'cpu', 'gpu' or 'gpu:1' -> the device."""
    kind, _, number = name.partition(":")
    if kind == "cpu":
        jax.config.update(
            "jax_platforms", "cpu"
        )  # leaves an accelerator beside it alone
    try:
        devices = jax.devices() if kind == "auto" else jax.devices(kind)
        return devices[int(number or 0)]
    except (RuntimeError, IndexError, ValueError):
        found = ", ".join(f"{d.platform}:{d.id}" for d in jax.devices())
        raise ValueError(f"--device {name}: not here; found {found}") from None


class Engine:
    """The step compiled for one input size, kind of pixels and output size."""

    def __init__(
        self, model: Model, width: int, height: int, deep: bool, size: tuple[int, int]
    ) -> None:
        self.model, self.size = model, size
        self._height, self._width = height, width
        self._pixels = jax.ShapeDtypeStruct(
            (height, width, 3), jnp.uint16 if deep else jnp.uint8
        )
        with jax.default_device(model.device):
            start = program(
                "start",
                (model.config, height, width),
                self._make_start,
                (np.uint32(0),),
            )
            self.state_shape = start.result_shape
            self._start = start.compile(np.uint32(0))
            self._compile()

    def _compile(self) -> None:
        arguments = (self.model.params, self.state_shape, self._pixels)
        run = program(
            "step", (self.model.config, self.size), self._make_step, arguments
        )
        self._run = run.compile(*arguments, donate=(1,))

    def _make_start(self) -> Callable[[Array], StreamState]:
        return lambda seed: init_state(
            self.model.config, 1, self._height, self._width, seed=seed
        )

    def _make_step(self) -> Callable:
        return functools.partial(
            upscale_pixels, config=self.model.config, size=self.size
        )

    @property
    def fit(self) -> str:
        """How a frame is made to fit, in the words of --tile; part of what decides the
        output's bytes.
        """
        flow = self.model.config.flow
        return (
            "on_demand"
            if isinstance(flow, RAFTConfig) and flow.correlation == "on_demand"
            else "off"
        )

    def start(self, seed: int) -> StreamState:
        """Fresh state of one stream."""
        with jax.default_device(self.model.device):
            return self._start(np.uint32(seed % 2**32))

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """Start one frame; ``state`` is consumed. The result is on its way, not yet
        computed.
        """
        state, out = self._run(
            self.model.params, state, jax.device_put(pixels, self.model.device)
        )
        out.copy_to_host_async()
        return state, out

    def restore(self, arrays: Mapping[str, np.ndarray]) -> StreamState:
        """The state that `snapshot.to_arrays` saved; ValueError if it belongs to
        another model or size.
        """
        try:
            state = snapshot.from_arrays(self.state_shape, arrays)
        except ValueError as error:
            raise ValueError(f"{error}; use --restart") from None
        return jax.device_put(state, self.model.device)

    def snapshot(self, state: StreamState) -> StreamState:
        """A copy that outlives the next step."""
        return jax.tree.map(jnp.copy, state)

    def memory(self, frames_in: int, frames_out: int) -> Memory:
        """Prediction for a job that holds that many frames on either side of the
        device.
        """
        return Memory(
            self._computing() + size_of(self.state_shape),
            self._queued(frames_in, frames_out),
        )

    def _computing(self) -> int:
        """Bytes on the device during a frame; a snapshot of the state comes on top."""
        return needs(self._run, self.model.device.platform)

    def _queued(self, frames_in: int, frames_out: int) -> int:
        width, height = self.size
        return (
            size_of(self._pixels) * frames_in
            + 3 * self._pixels.dtype.itemsize * width * height * frames_out
        )


@functools.lru_cache(maxsize=4)
def engine_for(
    model: Model, width: int, height: int, deep: bool, size: tuple[int, int]
) -> Engine:
    """The engine for these sizes; the last few are kept, for batches of videos."""
    return Engine(model, width, height, deep, size)
