"""One video frame in, one super-resolved frame out: the step function, its state and
its drivers.

    state, sr = step(params, state, lr_frame, config=config)

Everything that lasts from frame to frame is in `StreamState`; ``params`` comes from
`networks.prepare`.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax import diffusion
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.history import (
    History,
    flow_input,
    look_back,
    repaired_validity,
    restore,
    scene_holds,
    warp_history,
)
from sdvsr_jax.models.restorer import FOLD
from sdvsr_jax.networks import Networks, bind, build, shifts_of
from sdvsr_jax.ops.resize import pad_edges, upsample_bicubic
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import (
    Array,
    Frames,
    HasPrev,
    Latents,
    LRFrame,
    Mask,
    Params,
    PyTree,
    SRFrame,
)

AUTO = -1.0
"""Degree of repair that the restorer chooses itself."""


def padded_size(height: int, width: int, config: ModelConfig) -> tuple[int, int]:
    """The LR size the networks work on: a multiple of ``size_multiple``, at least
    ``min_size``.
    """
    if height < 1 or width < 1:
        raise ValueError(f"LR frame of {width}x{height}, expected at least 1x1")
    multiple = config.size_multiple
    grown = (max(size, config.min_size) for size in (height, width))
    padded_height, padded_width = (-(-size // multiple) * multiple for size in grown)
    return padded_height, padded_width


def init_state(
    config: ModelConfig,
    batch: int,
    height: int,
    width: int,
    *,
    seed: int | Array = 0,
    streams: Array | None = None,
    restore: float = AUTO,
) -> StreamState:
    """Fresh state for ``batch`` streams of LR frames height x width.

    A frame's noise depends on (seed, stream, frame index) alone; ``streams`` (default
    0..batch-1) numbers them. ``restore`` is the degree of repair, 0 to 1, or `AUTO`; a
    model without a restorer does not read it.
    """
    if batch < 1:
        raise ValueError(f"batch of {batch} streams, expected at least 1")
    height, width = padded_size(height, width, config)
    lr = jnp.zeros((batch, height, width, 3))
    sr = jnp.zeros((batch, height * config.scale, width * config.scale, 3))
    numbers = jnp.arange(batch) if streams is None else jnp.asarray(streams)
    return StreamState(
        prev_lr=lr,
        prev_sr=sr,
        flow_features=_empty_flow_features(flow_input(lr, sr, config), config),
        memory=_empty_memory(config, batch, height, width),
        restore=jnp.full(batch, restore, jnp.float32),
        has_prev=jnp.zeros(batch, bool),
        frame_index=jnp.zeros(batch, jnp.int32),
        key=jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(
            numbers
        ),
    )


def reset(state: StreamState, mask: HasPrev) -> StreamState:
    """Start the masked streams again at frame 0: their next outputs are those of a
    fresh state.
    """
    return state._replace(
        has_prev=state.has_prev & ~mask,
        frame_index=jnp.where(mask, 0, state.frame_index),
    )


def step(
    params: Params,
    state: StreamState,
    lr_frame: LRFrame,
    *,
    config: ModelConfig,
    noise: Latents | None = None,
    cut: HasPrev | None = None,
) -> tuple[StreamState, SRFrame]:
    """Super-resolve one frame: [b, h, w, 3] in [-1, 1] -> [b, scale*h, scale*w, 3],
    unclamped.

    ``noise`` replaces the stream's own initial latents [b, padded h, padded w, c]
    (parity, tiles); ``cut`` its own decision whether the frame begins a new scene
    (tiles: taken for the whole frame, by `frame_validity`).
    """
    new_state, sr, _ = advance(
        params, state, lr_frame, config=config, noise=noise, cut=cut
    )
    return new_state, sr


class Denoised(NamedTuple):
    """Latents at the end of the denoising scan: the last DDIM sample and the last clean
    estimate.
    """

    sample: Latents
    x0: Latents


def advance(
    params: Params,
    state: StreamState,
    lr_frame: LRFrame,
    *,
    config: ModelConfig,
    noise: Latents | None = None,
    cut: HasPrev | None = None,
) -> tuple[StreamState, SRFrame, Denoised]:
    """`step` that also shows its latents, on which training puts losses."""
    nets = bind(params, config)
    height, width = lr_frame.shape[1:3]
    lr = pad_edges(lr_frame.astype(jnp.float32), *padded_size(height, width, config))
    up = upsample_bicubic(lr, config.scale)
    lr, up, history, memory = _look_back(nets, state, lr, up, config, cut)
    if noise is None:
        noise = frame_noise(state, lr.shape[1:3], config)
    denoised = denoise_latents(nets, params["folded"], noise, lr, history, config)
    latents = denoised.sample if config.quirks.decode_last_sample else denoised.x0
    sr = decode_latents(nets, latents, lr, up, history, config)
    new_state = StreamState(
        prev_lr=lr,
        prev_sr=sr if config.quirks.unclamped_feedback else jnp.clip(sr, -1, 1),
        flow_features=history.flow_features,
        memory=memory,
        restore=state.restore,
        has_prev=jnp.ones_like(state.has_prev),
        frame_index=state.frame_index + 1,
        key=state.key,
    )
    return new_state, sr[:, : height * config.scale, : width * config.scale], denoised


def _look_back(
    nets: Networks,
    state: StreamState,
    lr: LRFrame,
    up: SRFrame,
    config: ModelConfig,
    cut: HasPrev | None,
) -> tuple[LRFrame, SRFrame, History, PyTree]:
    """The repaired frame, its bicubic enlargement, the history as it sees it, and the
    restorer's memory.
    """
    has_prev = state.has_prev
    seen = look_back(nets, state.prev_lr, state.flow_features, has_prev, lr, up, config)
    holds = scene_holds(seen, has_prev, config, cut)
    memory = state.memory
    if nets.restorer:
        restored = restore(
            nets, seen, state.prev_lr, memory, has_prev, state.restore, lr, holds
        )
        lr, memory = restored.lr, restored.repair.memory
        up = upsample_bicubic(lr, config.scale)
        seen = repaired_validity(seen, state.prev_lr, has_prev, lr, config)
        seen = seen._replace(
            flow_features=nets.flow.features(flow_input(lr, up, config))
        )
    history = warp_history(seen, state.prev_sr, has_prev, holds, lr, up, config)
    return lr, up, history, memory


def frame_validity(
    params: Params, state: StreamState, lr_frame: LRFrame, *, config: ModelConfig
) -> Mask:
    """How far the previous frame explains this one, in [0, 1]; `step` sees a cut where
    the mean is too low.
    """
    height, width = lr_frame.shape[1:3]
    lr = pad_edges(lr_frame.astype(jnp.float32), *padded_size(height, width, config))
    up, nets = upsample_bicubic(lr, config.scale), bind(params, config)
    return look_back(
        nets, state.prev_lr, state.flow_features, state.has_prev, lr, up, config
    ).validity


def frame_noise(
    state: StreamState, size: tuple[int, ...], config: ModelConfig
) -> Latents:
    """Initial latents [b, *size, c] of the next frame, N(0, 1), from (seed, stream,
    frame index) only.
    """
    index = (
        state.frame_index
        if config.diffusion.noise == "frame"
        else jnp.zeros_like(state.frame_index)
    )
    keys = jax.vmap(jax.random.fold_in)(state.key, index)
    shape = (*size, config.unet.latent_channels)
    return jax.vmap(lambda k: jax.random.normal(k, shape))(keys)


def denoise_latents(
    nets: Networks,
    folded: PyTree,
    noise: Latents,
    lr: LRFrame,
    history: History,
    config: ModelConfig,
) -> Denoised:
    """The denoising scan with guidance, float32."""
    unet, controlnet = folded["unet"], folded["controlnet"]
    condition = nets.controlnet.embed_condition(history.warped, history.trust)

    def guide(latents: Latents, time: Array) -> PyTree:
        shifts = shifts_of(nets.controlnet, time)
        residuals = nets.controlnet(latents, lr, condition, shifts, controlnet["text"])
        if config.quirks.bare_first_frame:
            residuals = jax.tree.map(
                lambda r: jnp.where(history.has_prev, r, 0), residuals
            )
        return residuals

    first = None
    if config.use_guidance and config.guide_once:
        first = guide(noise, controlnet["time"][0])

    def predict_v(latents: Latents, time: tuple[Array, Array]) -> Latents:
        residuals = (
            guide(latents, time[1]) if config.use_guidance and first is None else first
        )
        return nets.unet(
            latents, lr, shifts_of(nets.unet, time[0]), unet["text"], residuals
        )

    if config.remat:
        predict_v = jax.checkpoint(predict_v)
    times = unet["time"], controlnet["time"]
    return Denoised(
        *diffusion.denoise(
            predict_v, noise, times, config.diffusion, unroll=config.unroll
        )
    )


def decode_latents(
    nets: Networks,
    latents: Latents,
    lr: LRFrame,
    up: SRFrame,
    history: History,
    config: ModelConfig,
) -> SRFrame:
    """Decode with the features of the warped frame, encoded once."""
    features = []
    if config.use_tpm:
        features = nets.vae.features(
            history.warped, up, lr, raw=config.quirks.raw_tpm_input
        )
    return nets.vae.decode(latents, up, lr, features, history.validity)


def rollout(
    params: Params, state: StreamState, frames: Frames, *, config: ModelConfig
) -> tuple[StreamState, Frames]:
    """`step` over the leading (time) axis of ``frames`` as one `lax.scan`."""
    return jax.lax.scan(
        lambda s, frame: step(params, s, frame, config=config), state, frames
    )


@functools.cache
def compiled_step(
    config: ModelConfig, *, graphs: bool = False
) -> Callable[[Params, StreamState, LRFrame], tuple[StreamState, SRFrame]]:
    """`step` jitted for this config, the old state's memory given to the new one.

    ``graphs``: faster on an NVIDIA GPU, behind the plain program
    (`compiling.GRAPH_OPTIONS`).
    """
    options = compiler_options(graphs=graphs)
    return jax.jit(
        functools.partial(step, config=config),
        donate_argnums=1,
        compiler_options=options,
    )


def stream(
    params: Params,
    state: StreamState,
    frames: Iterable[LRFrame],
    *,
    config: ModelConfig,
    in_flight: int = 1,
) -> Iterator[SRFrame]:
    """Drive `step` frame by frame, for as long as ``frames`` lasts; ``state`` is
    consumed (donated).

    ``in_flight`` frames are handed to the device ahead of the one that is yielded, so
    that reading, computing and writing overlap; 0 yields each frame before the next is
    read (live use). It changes no output.
    """
    run = compiled_step(config)
    pending: deque[SRFrame] = deque()
    for frame in frames:
        state, sr = run(params, state, jax.device_put(frame))
        pending.append(sr)
        if len(pending) > in_flight:
            yield pending.popleft()
    yield from pending


def _empty_flow_features(image: Array, config: ModelConfig) -> PyTree:
    net = build(config).flow
    shapes = jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x, method="features")[0],
        image,
    )
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _empty_memory(config: ModelConfig, batch: int, height: int, width: int) -> PyTree:
    if config.restorer is None:
        return ()
    return jnp.zeros(
        (batch, height // FOLD, width // FOLD, config.restorer.memory_channels)
    )
