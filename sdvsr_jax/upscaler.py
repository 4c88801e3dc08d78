"""Numpy frames in, numpy frames out: a convenience over `load`, `prepare`, `init_state`
and `step`.

with Upscaler("nano") as upscaler:
    for frame in camera:                  # uint8 [180, 320, 3]
        show(upscaler.push(frame))        # uint8 [720, 1280, 3]

All memory between frames is the `StreamState` in ``upscaler.state``.
"""

import functools
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from sdvsr_jax import snapshot
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.ops.pixels import from_pixels, to_pixels
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.prepare import prepare
from sdvsr_jax.state import AUTO, StreamState, reset
from sdvsr_jax.stream import init_state, step
from sdvsr_jax.types import Array, Bool, Num, Params, Prepared
from sdvsr_jax.weights import load as checkpoint


def step_pixels(
    prepared: Prepared,
    state: StreamState,
    pixels: Num[Array, "b h w 3"],
    active: Bool[Array, " b"],
    *,
    config: ModelConfig,
) -> tuple[StreamState, Num[Array, "b H W 3"]]:
    """`step` on pixels [b, h, w, 3] as users have them; streams where ``active`` is
    False keep their state.

    uint8, uint16 and float32 stand for 0..255, 0..65535 and 0..1; the result has the
    same type and range.
    """
    new_state, sr = step(prepared, state, from_pixels(pixels), config=config)

    def choose(after: Array, before: Array) -> Array:
        num_others = after.ndim - 1
        other_axes = (1,) * num_others
        mask = active.reshape(-1, *other_axes)
        return jnp.where(mask, after, before)

    # keys never change, and `jnp.where` does not take them
    after = new_state._replace(key=None)
    before = state._replace(key=None)
    next_state = jax.tree.map(choose, after, before)
    next_state = next_state._replace(key=state.key)
    return next_state, to_pixels(sr, pixels.dtype)


Kind = tuple[tuple[int, ...], np.dtype]
"""Shape and type of a frame."""
Model = str | tuple[ModelConfig, Params]


class Upscaler:
    """Upscales one or several independent video streams, frame by frame, each frame at
    once.

    model: a name, file, folder or hub id as `load` takes them, or its result, a pair
    (config, params).
    streams: how many streams share one batch; their frames have one size.
    restore: how much of compression, noise and blur is repaired, 0 (none) to 1, or
    "auto", which leaves clean input alone. Only models with a restorer read it.
    seed: of the noise. Equal seed, stream number and frames give equal output.
    device: a `jax.Device`; JAX's default one without it.

    Frames are numpy arrays [h, w, 3] RGB: uint8 (0 to 255), uint16 (0 to 65535) or
    float (0 to 1). Results are [scale*h, scale*w, 3] of the same type (float32 for
    floats), clipped to the same range. The first frame (or `warm_up`) fixes size and
    type and compiles the program (seconds). Calls from several threads are taken one
    after the other.
    """

    def __init__(
        self,
        model: Model = "nano",
        *,
        streams: int = 1,
        seed: int = 0,
        restore: float | Literal["auto"] = "auto",
        device: Any = None,
        offline: bool = False,
    ) -> None:
        if streams < 1:
            raise ValueError(f"streams={streams}: expected at least 1")
        if restore != "auto" and not 0 <= restore <= 1:
            raise ValueError(f"restore={restore}: expected 'auto', or 0 to 1")
        if isinstance(model, str):
            model = checkpoint.load(model, offline=offline)
        self.config, params = model
        self.num_streams = streams
        self.state: StreamState | None = None
        self._degree = AUTO if restore == "auto" else float(restore)
        self._seed = seed
        self._device = device or jax.devices()[0]
        params = jax.device_put(params, self._device)
        self._prepared: Prepared | None = prepare(params, self.config)
        self._run: Any = self._jit(graphs=False)
        self._graphs = None
        if device_kind(self._device)[0] == "cuda":
            self._graphs = self._jit(graphs=True)
        self._kind: Kind | None = None
        self._restored_size: tuple[int, int] | None = None
        self._process = os.getpid()
        # the state is donated to every step: two at a time would read a dead one
        self._lock = threading.Lock()

    def _jit(self, *, graphs: bool) -> Any:
        return jax.jit(
            functools.partial(step_pixels, config=self.config),
            donate_argnums=1,
            compiler_options=compiler_options(graphs=graphs),
        )

    def warm_up(self, height: int, width: int, dtype: DTypeLike = np.uint8) -> None:
        """Compiles for LR frames of that size and type, and runs once on nothing: no
        output changes.

        Then the first frame takes as long as the others. Compiling alone is not enough
        on a GPU, where a program's first call loads its kernels.
        """
        black = np.zeros((height, width, 3), dtype)
        blank = check_frame(black)
        nobody = np.zeros(self.num_streams, bool)
        out = self._step([blank], nobody)
        out.block_until_ready()

    def push(self, frame: np.ndarray) -> np.ndarray:
        """Returns the next frame of the only stream, upscaled.

        Raises ValueError for another size, type or range.
        """
        if self.num_streams != 1:
            raise ValueError(
                f"push takes one frame, but there are {self.num_streams} streams: use "
                "push_many"
            )
        results = np.asarray(self._submit([frame]))
        return results[0]

    def push_many(self, frames: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """One frame per stream, None for streams that have none now; results in the
        same places.

        A stream without a frame keeps its memory and its place: frames of different
        rates can share a batch.
        """
        if len(frames) != self.num_streams:
            raise ValueError(
                f"{len(frames)} frames for {self.num_streams} streams, expected one "
                "each (or None)"
            )
        if all(frame is None for frame in frames):
            return [None] * len(frames)
        results = np.asarray(self._submit(frames))
        return [
            None if frame is None else result
            for frame, result in zip(frames, results, strict=True)
        ]

    def upscale(
        self, frames: Iterable[np.ndarray], *, in_flight: int = 1
    ) -> Iterator[np.ndarray]:
        """Yields every frame of the only stream, upscaled, in order.

        ``in_flight`` frames are given to the device ahead of the one that is yielded,
        so that reading, computing and using the results overlap; 0 yields each before
        the next is read. It changes no output.
        """
        pending: deque[Array] = deque()
        for frame in frames:
            pending.append(self._submit([frame]))
            if len(pending) > in_flight:
                yield np.asarray(pending.popleft())[0]
        for result in pending:
            yield np.asarray(result)[0]

    def reset(self, *streams: int) -> None:
        """Starts streams (without numbers: all) at frame 0 again: a viewer left, and
        another joins in its place.
        """
        numbers = streams or range(self.num_streams)
        last = self.num_streams - 1
        for number in numbers:
            if not 0 <= number <= last:
                raise ValueError(f"stream {number}: expected 0 to {last}")
        mask = np.isin(np.arange(self.num_streams), numbers)
        with self._lock:
            # without one the first frame will make a fresh one
            if self.state is not None:
                mask = jax.device_put(mask, self._device)
                self.state = reset(self.state, mask)

    def export_state(self) -> dict[str, np.ndarray]:
        """Returns the memory of all streams as arrays, for `numpy.savez`, to go on
        later or elsewhere.
        """
        with self._lock:
            if self.state is None:
                raise ValueError("no frame yet, so there is no state to export")
            return snapshot.to_arrays(self.state)

    def restore_state(
        self, arrays: Mapping[str, np.ndarray], height: int, width: int
    ) -> None:
        """Goes on from `export_state` with LR frames height x width; ValueError if it
        belongs to another model.
        """
        self._check_process()
        like = jax.eval_shape(
            lambda: init_state(self.config, self.num_streams, height, width)
        )
        with self._lock:
            state = snapshot.from_arrays(like, arrays)
            self.state = jax.device_put(state, self._device)
            self._kind = None
            self._restored_size = (height, width)

    def close(self) -> None:
        """Gives weights and state back to the device; no frame can be pushed then."""
        with self._lock:
            self._prepared = self.state = None

    def __enter__(self) -> "Upscaler":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def _submit(self, frames: Sequence[np.ndarray | None]) -> Array:
        """Starts one step; the result is on its way, not yet computed."""
        active = np.array([frame is not None for frame in frames])
        checked = [check_frame(frame) for frame in frames if frame is not None]
        out = self._step(checked, active)
        # before it is asked for, so that the copy overlaps with the next step
        out.copy_to_host_async()
        return out

    def _step(self, frames: Sequence[np.ndarray], active: np.ndarray) -> Array:
        """Takes the frames of the active streams, in their order; there is one at
        least, which fixes the kind.
        """
        self._check_process()
        with self._lock:
            if self._prepared is None:
                raise ValueError("this Upscaler is closed: make a new one")
            self._check_kind(frames)
            if self.state is None:
                self.state = self._fresh_state()
            pixels = self._place(frames, active)
            if self._graphs is not None:
                self._try_graphs(pixels, np.zeros_like(active))
            return self._call(pixels, active)

    def _try_graphs(self, pixels: np.ndarray, nobody: np.ndarray) -> None:
        """Frames become CUDA graphs with the convolutions in them, less time for twice
        the temporary memory (docs/log.md), if such graphs run here.
        """
        graphs = self._graphs
        assert graphs is not None
        plain = self._run
        # their kernels are loaded by the plain program, run on nothing
        self._call(pixels, nobody).block_until_ready()
        # a run that fails has used up the state
        state = jax.tree.map(jnp.copy, self.state)
        self._run = graphs
        self._graphs = None
        try:
            # twice, because a graph may be recorded by the second run
            for _ in range(2):
                self._call(pixels, nobody).block_until_ready()
        except jax.errors.JaxRuntimeError:
            self._run = plain
            self.state = state

    def _check_process(self) -> None:
        """RuntimeError in a forked child: the threads of JAX stay with the parent, and
        without them a call never returns.
        """
        if os.getpid() != self._process:
            raise RuntimeError(
                "this Upscaler was made before the process was forked, expected one "
                "of this process: make it in the child, or start children by 'spawn'"
            )

    def _check_kind(self, frames: Sequence[np.ndarray]) -> None:
        """Settles the kind by the first frames, once all of them are right."""
        first = frames[0]
        kind = self._kind or (first.shape, first.dtype)
        shape, dtype = kind
        for frame in frames:
            if (frame.shape, frame.dtype) != kind:
                raise ValueError(
                    f"frame {frame.shape} {frame.dtype}, but the stream began with "
                    f"{shape} {dtype}: expected equal frames; make a new Upscaler for "
                    "another size"
                )
        if self._restored_size not in (None, shape[:2]):
            height, width = self._restored_size or shape[:2]
            raise ValueError(
                f"frame {shape}, but the restored state is of {width}x{height} frames: "
                "expected one of that size"
            )
        self._kind = kind

    def _fresh_state(self) -> StreamState:
        assert self._kind is not None
        (height, width, _), _ = self._kind
        state = init_state(
            self.config,
            self.num_streams,
            height,
            width,
            seed=self._seed,
            restore=self._degree,
        )
        return jax.device_put(state, self._device)

    def _place(self, frames: Sequence[np.ndarray], active: np.ndarray) -> np.ndarray:
        """Returns frames of all streams [b, h, w, 3], black for those without one."""
        first = frames[0]
        shape = (self.num_streams, *first.shape)
        pixels = np.zeros(shape, first.dtype)
        # nobody is, where the program is only compiled
        if active.any():
            pixels[active] = frames
        return pixels

    def _call(self, pixels: np.ndarray, active: np.ndarray) -> Array:
        inputs = jax.device_put((pixels, active), self._device)
        self.state, out = self._run(self._prepared, self.state, *inputs)
        return out


def check_frame(frame: np.ndarray) -> np.ndarray:
    """Returns a frame in one of the three kinds; ValueError names anything else."""
    frame = np.asarray(frame)
    is_image = frame.ndim == 3 and frame.shape[2] == 3
    if not is_image or 0 in frame.shape:
        raise ValueError(f"frame of shape {frame.shape}, expected [height, width, 3]")
    if frame.dtype in (np.uint8, np.uint16):
        return frame
    if not np.issubdtype(frame.dtype, np.floating):
        raise ValueError(f"frame of {frame.dtype}, expected uint8, uint16 or float")
    low = float(frame.min())
    high = float(frame.max())
    # filters overshoot a little; other ranges and NaN are mistakes
    if not (low >= -0.5 and high <= 1.5):
        raise ValueError(
            f"float frame with values from {low:.6g} to {high:.6g}, expected 0 to 1"
        )
    return frame.astype(np.float32)
