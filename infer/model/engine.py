"""The compiled step for one frame size.

Pixels go in as uint8 or uint16 and come out as the same kind; everything between stays
on the device.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infer.model import compiled_cache
from infer.model.compiled_cache import compiled, result_shape
from infer.model.layout import Layout, OnDemand, Whole
from infer.model.memory import Memory, needs, size_of
from sdvsr_jax import snapshot
from sdvsr_jax.config import ModelConfig, RAFTConfig
from sdvsr_jax.state import AUTO, StreamState, reset
from sdvsr_jax.types import Array, Params, Prepared
from sdvsr_jax.weights import load as checkpoint

Device = Any
"""A `jax.Device`, which type checkers take for a variable."""


@jax.jit
def _is_finite(sr: Array) -> Array:
    return jnp.isfinite(sr).all()


@dataclass(frozen=True, eq=False)
class Model:
    """Weights ready on a device; equal only to itself."""

    name: str
    config: ModelConfig
    params: Prepared
    device: Device


class Shape(NamedTuple):
    """Sizes that a program is compiled for; size: (W, H) of the output in pixels."""

    width: int
    height: int
    is_deep: bool
    size: tuple[int, int]


def load_model(
    name: str,
    device: str = "auto",
    precision: str | None = None,
    steps: int | None = None,
    flow_weights: str | None = None,
    offline: bool = False,
) -> Model:
    """Returns the model, prepared and on its device.

    ValueError for an unknown model or device.
    """
    compiled_cache.use()
    target = find_device(device)
    config, params = checkpoint.load(
        name, flow_weights=flow_weights, offline=offline, complete=False
    )
    if precision is not None:
        config = replace(config, compute_dtype=precision)
    if steps is not None:
        diffusion = replace(config.diffusion, num_steps=steps)
        config = replace(config, diffusion=diffusion)
    with jax.default_device(target):
        make = functools.partial(_checked_prepare, name, params, config)
        prepare = compiled("prepare", (config,), make, (params,))
        prepared = prepare(params)
    weights = jax.device_put(prepared, target)
    return Model(name, config, weights, target)


def _checked_prepare(
    name: str, params: Params, config: ModelConfig
) -> Callable[[Params], Prepared]:
    # The networks are imported only where no earlier run has kept the program.
    from sdvsr_jax.prepare import prepare

    checkpoint.check_complete(name, params, config)
    return functools.partial(prepare, config=config)


def find_device(name: str) -> Device:
    """Returns the device of 'auto', 'cpu', 'gpu' or 'gpu:1'; ValueError if none is."""
    kind, _, number = name.partition(":")
    if kind == "cpu":
        # Leaves an accelerator beside it alone.
        jax.config.update("jax_platforms", "cpu")
    try:
        devices = jax.devices() if kind == "auto" else jax.devices(kind)
        index = int(number or 0)
        return devices[index]
    except (RuntimeError, IndexError, ValueError):
        places = [f"{device.platform}:{device.id}" for device in jax.devices()]
        choice = ", ".join(places)
        raise ValueError(
            f"--device {name}: not here; expected one of {choice}"
        ) from None


class Engine:
    """The step compiled for one input size, kind of pixels and output size."""

    def __init__(self, model: Model, shape: Shape) -> None:
        self.model = model
        self.size = shape.size
        self._height = shape.height
        self._width = shape.width
        frame_shape = (shape.height, shape.width, 3)
        dtype = jnp.uint16 if shape.is_deep else jnp.uint8
        self._pixels = jax.ShapeDtypeStruct(frame_shape, dtype)
        with jax.default_device(model.device):
            seed = np.uint32(0)
            facts = (model.config, shape.height, shape.width)
            self._start = compiled("start", facts, self._make_start, (seed,))
            self.state_shape = result_shape(self._start)
            self._compile()

    def _compile(self) -> None:
        arguments = (self.model.params, self.state_shape, self._pixels)
        facts = (self.model.config, self.size)
        # The old state is given up, so that there is memory for one state only.
        self._run = compiled("step", facts, self._make_step, arguments, donate=(1,))

    def _make_start(self) -> Callable[[Array], StreamState]:
        config = self.model.config
        height = self._height
        width = self._width
        from sdvsr_jax.stream import init_state

        return lambda seed: init_state(config, 1, height, width, seed=seed)

    def _make_step(self) -> Callable:
        from infer.model.networks import upscale_pixels

        return functools.partial(
            upscale_pixels, config=self.model.config, size=self.size
        )

    def _make_look(self) -> Callable:
        from infer.model.networks import look_at_pixels

        return functools.partial(look_at_pixels, config=self.model.config)

    @property
    def layout(self) -> Layout:
        """How a frame is made to fit; it decides bytes of the output."""
        flow = self.model.config.flow
        if isinstance(flow, RAFTConfig) and flow.correlation == "on_demand":
            return OnDemand()
        return Whole()

    def start(self, seed: int, degree: float = AUTO) -> StreamState:
        """Returns the fresh state of one stream, to be repaired to that degree.

        ValueError if it is to be repaired by a model that cannot.
        """
        config = self.model.config
        if degree > 0 and config.restorer is None:
            raise ValueError(
                f"--restore {degree:g}: the model {config.name} has no restorer; leave "
                "the option out, or choose a model that was trained with one"
            )
        seed_of_device = np.uint32(seed % 2**32)
        with jax.default_device(self.model.device):
            state = self._start(seed_of_device)
        # A value of the state, so that one program serves all degrees.
        degrees = np.full(state.restore.shape, degree, np.float32)
        return state._replace(restore=self._put(degrees))

    def _put(self, arrays: Any) -> Any:
        """Returns the arrays on the model's device."""
        return jax.device_put(arrays, self.model.device)

    def blank(self) -> np.ndarray:
        """Returns a black frame."""
        return np.zeros(self._pixels.shape, self._pixels.dtype)

    def begin_at(self, index: int, seed: int, degree: float = AUTO) -> StreamState:
        """Returns a state without a past, whose next frame is number ``index`` of the
        stream.
        """
        state = self.start(seed, degree)
        number = np.full(state.frame_index.shape, index, np.int32)
        return state._replace(frame_index=self._put(number))

    @property
    def knows_cuts(self) -> bool:
        """Whether the model decides on cuts, so that `look` says where they may be."""
        return self.model.config.history.cut_validity > 0

    def look(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """Returns the state for the next `look`, and the mean validity of the previous
        frame, [1]; ``state`` is used up.
        """
        frame = self._put(pixels)
        return self._see_frame(self.model.params, state, frame)

    @functools.cached_property
    def _see_frame(self) -> Callable:
        arguments = (self.model.params, self.state_shape, self._pixels)
        facts = (self.model.config,)
        with jax.default_device(self.model.device):
            return compiled("look", facts, self._make_look, arguments, donate=(1,))

    def restart(self, state: StreamState) -> StreamState:
        """Returns the state of a stream whose next frame has no past."""
        every_stream = np.ones(1, bool)
        return reset(state, self._put(every_stream))

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """Returns the next state and the upscaled frame, both still being computed.

        pixels: uint8 or uint16 [h, w, 3]. ``state`` is used up.
        """
        frame = self._put(pixels)
        state, out = self._run(self.model.params, state, frame)
        # The copy begins when the frame is ready, while the next step computes.
        out.copy_to_host_async()
        return state, out

    def is_finite(self, state: StreamState) -> Array:
        """Returns whether the frame last upscaled is finite everywhere, a bool [].

        Pixels cannot say it, because rounding turns NaN into black.
        """
        return _is_finite(state.prev_sr)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> StreamState:
        """Returns the state that `snapshot.to_arrays` saved.

        ValueError if it belongs to another model or size.
        """
        try:
            state = snapshot.from_arrays(self.state_shape, arrays)
        except ValueError as error:
            raise ValueError(f"{error}; use --restart") from None
        return self._put(state)

    def snapshot(self, state: StreamState) -> StreamState:
        """Returns a copy that outlives the next step."""
        return jax.tree.map(jnp.copy, state)

    def memory(self, frames_in: int, frames_out: int) -> Memory:
        """Returns the prediction for a job with so many frames beside the device."""
        device = self._computing() + size_of(self.state_shape)
        return Memory(device, self._queued(frames_in, frames_out))

    def _computing(self) -> int:
        """Bytes on the device during a frame; a snapshot of the state comes on top."""
        return needs(self._run, self.model.device.platform)

    def _queued(self, frames_in: int, frames_out: int) -> int:
        width, height = self.size
        bytes_in = size_of(self._pixels)
        bytes_out = 3 * self._pixels.dtype.itemsize * width * height
        return bytes_in * frames_in + bytes_out * frames_out
