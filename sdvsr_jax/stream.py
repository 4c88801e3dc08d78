"""One video frame in, one super-resolved frame out: the step, its state, its drivers.

    prepared = prepare(params, config)
    state = init_state(config, batch, height, width)
    state, sr_frame = step(prepared, state, lr_frame, config=config)

Inside the step, which `advance` spells out:

    lr frame --pad--> lr [b, h, w, 3] --bicubic--> up [b, scale*h, scale*w, 3]
    lr, up, state --flow network--> motion, from the current to the previous frame
    motion, state --mean validity--> follows: the same scene, or a cut
    lr, motion, follows, state --restorer, if the model has one--> lr and up, repaired
    motion, follows, state --warp--> history: the previous SR frame where it is valid
    seed, stream, frame index --> noise [b, h, w, c]
    noise, lr, history --U-Net with ControlNet, num_steps times--> latents [b, h, w, c]
    latents, lr, up, history --decoder with TPM--> SR frame [b, scale*h, scale*w, 3]
    lr, SR frame, flow features, memory of the restorer --> next state

Nothing but `StreamState` lasts from frame to frame; pixels are floats in [-1, 1], flow
is in pixels.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax import diffusion
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.history import History, estimate_motion, same_scene, warp_history
from sdvsr_jax.models.restorer import FOLD
from sdvsr_jax.networks import Networks, bind, build
from sdvsr_jax.ops.resize import pad_edges, upsample_bicubic
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.restoration import motion_of_repaired, restore
from sdvsr_jax.state import AUTO, StreamState
from sdvsr_jax.types import (
    Array,
    Frames,
    HasPrev,
    Images,
    Int,
    Latents,
    LRFrame,
    Mask,
    PerNetwork,
    Prepared,
    PyTree,
    SRFrame,
)

Step = Callable[[Prepared, StreamState, LRFrame], tuple[StreamState, SRFrame]]


def padded_size(height: int, width: int, config: ModelConfig) -> tuple[int, int]:
    """Returns the LR size the networks work on: sides are multiples of
    ``size_multiple``, at least ``min_size``.
    """
    if height < 1 or width < 1:
        raise ValueError(f"LR frame of {width}x{height}, expected at least 1x1")
    return _padded_side(height, config), _padded_side(width, config)


def _padded_side(side: int, config: ModelConfig) -> int:
    multiple = config.size_multiple
    side = max(side, config.min_size)
    return -(-side // multiple) * multiple


def init_state(
    config: ModelConfig,
    batch: int,
    height: int,
    width: int,
    *,
    seed: int | Array = 0,
    streams: Int[Array, " b"] | None = None,
    restore: float = AUTO,
) -> StreamState:
    """Returns a fresh state for ``batch`` streams of LR frames height x width.

    A frame's noise depends on (seed, stream, frame index) alone; ``streams`` (default
    0..batch-1) numbers them. ``restore`` is the degree of repair, 0 to 1, or `AUTO`; a
    model without a restorer does not read it.
    """
    if batch < 1:
        raise ValueError(f"batch of {batch} streams, expected at least 1")
    height, width = padded_size(height, width, config)
    height_sr = height * config.scale
    width_sr = width * config.scale
    lr = jnp.zeros((batch, height, width, 3))
    up = jnp.zeros((batch, height_sr, width_sr, 3))
    numbers = jnp.arange(batch) if streams is None else jnp.asarray(streams)
    root_key = jax.random.key(seed)
    # by the stream's own number, not by its row: it draws the same noise in any batch
    stream_key = functools.partial(jax.random.fold_in, root_key)
    return StreamState(
        prev_lr=lr,
        prev_sr=up,
        flow_features=_empty_flow_features(lr, up, config),
        memory=_empty_memory(lr, config),
        restore=jnp.full(batch, restore, jnp.float32),
        has_prev=jnp.zeros(batch, bool),
        frame_index=jnp.zeros(batch, jnp.int32),
        key=jax.vmap(stream_key)(numbers),
    )


def _empty_flow_features(lr: LRFrame, up: SRFrame, config: ModelConfig) -> PyTree:
    """Zeros in the place of features; shapes alone are computed."""
    net: Any = build(config).flow
    image = net.choose_frame(lr, up)

    def compute(image: Images) -> PyTree:
        key = jax.random.key(0)
        features, _ = net.init_with_output(key, image, method="features")
        return features

    shapes = jax.eval_shape(compute, image)
    return jax.tree.map(jnp.zeros_like, shapes)


def _empty_memory(lr: LRFrame, config: ModelConfig) -> PyTree:
    """The restorer's, [b, h/2, w/2, c]; nothing without one."""
    if config.restorer is None:
        return ()
    batch, height, width, _ = lr.shape
    half_height = height // FOLD
    half_width = width // FOLD
    channels = config.restorer.memory_channels
    return jnp.zeros((batch, half_height, half_width, channels))


def step(
    prepared: Prepared,
    state: StreamState,
    lr_frame: LRFrame,
    *,
    config: ModelConfig,
    noise: Latents | None = None,
    cut: HasPrev | None = None,
) -> tuple[StreamState, SRFrame]:
    """Super-resolves one frame: [b, h, w, 3] in [-1, 1] -> [b, scale*h, scale*w, 3],
    unclamped.

    ``noise`` replaces the stream's own initial latents [b, padded h, padded w, c],
    N(0, 1) (parity, tiles); ``cut`` its own decision whether the frame begins a new
    scene (tiles: taken for the whole frame, by `frame_validity`). Raises ValueError for
    raw parameters, and for frames that are no floats or do not match the state.
    """
    new_state, sr, _ = advance(
        prepared,
        state,
        lr_frame,
        config=config,
        noise=noise,
        cut=cut,
    )
    return new_state, sr


class Denoised(NamedTuple):
    """Latents at the end of the denoising scan."""

    sample: Latents
    """The last DDIM sample."""
    x0: Latents
    """The last clean estimate."""


def advance(
    prepared: Prepared,
    state: StreamState,
    lr_frame: LRFrame,
    *,
    config: ModelConfig,
    noise: Latents | None = None,
    cut: HasPrev | None = None,
) -> tuple[StreamState, SRFrame, Denoised]:
    """`step` that also shows its latents, on which training puts losses."""
    _check(prepared, state, lr_frame, config)
    nets = bind(prepared.params, config)
    lr = pad_frame(lr_frame, config)
    up = upsample_bicubic(lr, config.scale)
    motion = estimate_motion(nets, state, lr, up, config)
    follows = same_scene(motion, state, config, cut)

    memory = state.memory
    # cuts are decided before: a repair needs to know whether it may look back
    if nets.restorer is not None:
        restored = restore(nets, motion, state, lr, follows)
        lr = restored.lr
        memory = restored.repair.memory
        up = upsample_bicubic(lr, config.scale)
        motion = motion_of_repaired(nets, motion, state, lr, up, config)

    history = warp_history(motion, state, follows, lr, up, config)
    if noise is None:
        padded = lr.shape[1:3]
        noise = frame_noise(state, padded, config)
    denoised = denoise_latents(nets, prepared, noise, lr, history, config)
    # the last sample still holds a rest of noise, which the published code decodes
    latents = denoised.sample if config.quirks.decode_last_sample else denoised.x0
    sr = decode_latents(nets, latents, lr, up, history, config)

    # the state keeps the padded frames, so that the next warp sees its margins too
    new_state = state._replace(
        prev_lr=lr,
        prev_sr=feedback(sr, config),
        flow_features=history.flow_features,
        memory=memory,
        has_prev=jnp.ones_like(state.has_prev),
        frame_index=state.frame_index + 1,
    )
    # who called sees the frame without its margins
    _, height, width, _ = lr_frame.shape
    height_sr = height * config.scale
    width_sr = width * config.scale
    sr_frame = sr[:, :height_sr, :width_sr]
    return new_state, sr_frame, denoised


def pad_frame(lr_frame: LRFrame, config: ModelConfig) -> Images:
    """Returns the frame in float32 at `padded_size`, edges repeated."""
    _, height, width, _ = lr_frame.shape
    padded_height, padded_width = padded_size(height, width, config)
    # padded, not resized as the published code does, which changes the geometry
    # (docs/parity.md)
    exact = lr_frame.astype(jnp.float32)
    return pad_edges(exact, padded_height, padded_width)


def frame_noise(
    state: StreamState, size: tuple[int, ...], config: ModelConfig
) -> Latents:
    """Returns the next frame's initial latents [b, *size, c], N(0, 1), which depend on
    (seed, stream, frame index) only.
    """
    # the stream's key and the frame's number alone decide it, so that a frame does not
    # depend on how it was driven, stopped or resumed
    index = state.frame_index
    if config.diffusion.noise == "stream":
        index = jnp.zeros_like(index)
    frame_keys = jax.vmap(jax.random.fold_in)(state.key, index)
    shape = (*size, config.unet.latent_channels)

    # a key per row, so that a row does not depend on its neighbours
    def draw(key: Array) -> Array:
        return jax.random.normal(key, shape)

    return jax.vmap(draw)(frame_keys)


def denoise_latents(
    nets: Networks,
    prepared: Prepared,
    noise: Latents,
    lr: LRFrame,
    history: History,
    config: ModelConfig,
) -> Denoised:
    """The denoising scan with guidance, float32."""
    prompt = prepared.prompt
    # once per frame: neither latents nor timestep change it
    condition = nets.controlnet.embed_condition(history.warped, history.validity_sr)

    def predict_v(latents: Latents, shifts: PerNetwork) -> Latents:
        residuals = nets.controlnet(
            latents,
            lr,
            condition,
            shifts.controlnet,
            prompt.controlnet,
        )
        residuals = _where_guided(residuals, history, config)
        return nets.unet(latents, lr, shifts.unet, prompt.unet, residuals)

    # training at large sizes: a second forward pass instead of the memory of the first
    if config.remat:
        predict_v = jax.checkpoint(predict_v)
    sample, x0 = diffusion.denoise(
        predict_v,
        noise,
        prepared.time_shifts,
        config.diffusion,
        unroll=config.unroll,
    )
    return Denoised(sample, x0)


def _where_guided(residuals: PyTree, history: History, config: ModelConfig) -> PyTree:
    """Guidance as the config wants it: None in an ablation, and in the published model
    zero without a previous frame.
    """
    if not config.use_guidance:
        return None
    if not config.quirks.bare_first_frame:
        return residuals

    def where_seen(residual: Array) -> Array:
        return jnp.where(history.has_prev, residual, 0)

    return jax.tree.map(where_seen, residuals)


def decode_latents(
    nets: Networks,
    latents: Latents,
    lr: LRFrame,
    up: SRFrame,
    history: History,
    config: ModelConfig,
) -> SRFrame:
    """Decodes latents [b, h, w, c] with the features of the warped frame, encoded
    once.
    """
    features = []
    if config.use_tpm:
        raw = config.quirks.raw_tpm_input
        features = nets.vae.features(history.warped, up, lr, raw=raw)
    return nets.vae.decode(latents, up, lr, features, history.validity)


def feedback(sr: SRFrame, config: ModelConfig) -> SRFrame:
    """Returns the SR frame as it is carried to the next one."""
    if config.quirks.unclamped_feedback:
        return sr
    # clamped, so that no overshoot feeds itself from frame to frame
    return jnp.clip(sr, -1, 1)


def frame_validity(
    prepared: Prepared, state: StreamState, lr_frame: LRFrame, *, config: ModelConfig
) -> Mask:
    """Returns how far the previous frame explains this one, in [0, 1], a map at padded
    LR size (or one number, [b, 1, 1, 1], without ``consistency_sigma``); `step` takes a
    mean that is too low for a cut. The frame is in [-1, 1].
    """
    _check(prepared, state, lr_frame, config)
    nets = bind(prepared.params, config)
    lr = pad_frame(lr_frame, config)
    up = upsample_bicubic(lr, config.scale)
    return estimate_motion(nets, state, lr, up, config).validity


def look(
    prepared: Prepared, state: StreamState, lr_frame: LRFrame, *, config: ModelConfig
) -> tuple[StreamState, Mask]:
    """Returns the state that lets the next frame be compared with this one, and how far
    the previous frame explains this one, as `frame_validity`.

    So a pass over the frames finds the cuts without upscaling any. Frames are compared
    as they came, also for a model with a restorer, whose step compares repaired ones.
    """
    _check(prepared, state, lr_frame, config)
    nets = bind(prepared.params, config)
    lr = pad_frame(lr_frame, config)
    up = upsample_bicubic(lr, config.scale)
    motion = estimate_motion(nets, state, lr, up, config)
    new_state = state._replace(
        prev_lr=lr,
        flow_features=motion.features,
        has_prev=jnp.ones_like(state.has_prev),
    )
    return new_state, motion.validity


def _check(
    prepared: Prepared, state: StreamState, lr_frame: LRFrame, config: ModelConfig
) -> None:
    """Raises ValueError for arguments that do not belong together."""
    if not isinstance(prepared, Prepared):
        raise ValueError(
            f"step got parameters of type {type(prepared).__name__}, expected "
            "Prepared: call prepare(params, config) once, before the first frame"
        )
    shape = lr_frame.shape
    dtype = lr_frame.dtype
    if len(shape) != 4 or shape[3] != 3:
        raise ValueError(
            f"frame of shape {list(shape)}, expected [streams, height, width, 3]: a "
            "single frame gets its first axis by frame[None]"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"frame of {dtype}, expected floats in [-1, 1]: divide 8-bit pixels by "
            "127.5 and subtract 1, or use Upscaler, which takes them as they are"
        )
    streams, height, width, _ = shape
    state_streams, state_height, state_width, _ = state.prev_lr.shape
    if streams != state_streams:
        raise ValueError(
            f"frames of {streams} streams, but the state has {state_streams}: make one "
            f"with init_state(config, {streams}, {height}, {width})"
        )
    if padded_size(height, width, config) != (state_height, state_width):
        raise ValueError(
            f"frame of {width}x{height}, but the state is for {state_width}x"
            f"{state_height} (padded): make one with "
            f"init_state(config, {streams}, {height}, {width})"
        )


def rollout(
    prepared: Prepared, state: StreamState, frames: Frames, *, config: ModelConfig
) -> tuple[StreamState, Frames]:
    """`step` over the leading (time) axis of ``frames`` [f, b, h, w, 3], in [-1, 1], as
    one `lax.scan`; returns SR frames [f, b, scale*h, scale*w, 3], unclamped.
    """

    def body(state: StreamState, frame: LRFrame) -> tuple[StreamState, SRFrame]:
        return step(prepared, state, frame, config=config)

    return jax.lax.scan(body, state, frames)


def compile_step(config: ModelConfig, *, graphs: bool = False) -> Step:
    """Returns `step` jitted for this config; the old state's memory is given to the new
    one.

    The caller keeps it: it holds the compiled programs, one per size and batch.
    ``graphs``: faster on an NVIDIA GPU, behind the plain program
    (`ops.xla.GRAPH_OPTIONS`).
    """
    return jax.jit(
        functools.partial(step, config=config),
        donate_argnums=1,
        compiler_options=compiler_options(graphs=graphs),
    )


def stream(
    run: Step,
    prepared: Prepared,
    state: StreamState,
    frames: Iterable[LRFrame],
    *,
    in_flight: int = 1,
) -> Iterator[SRFrame]:
    """Drives ``run`` (of `compile_step`) for as long as ``frames`` [b, h, w, 3], in
    [-1, 1], last; ``state`` is consumed (donated).

    ``in_flight`` frames are handed to the device ahead of the one that is yielded, so
    that reading, computing and writing overlap; 0 yields each frame before the next is
    read (live use). It changes no output.
    """
    pending: deque[SRFrame] = deque()
    for frame in frames:
        # the call returns at once; only taking a result waits for it
        state, sr = run(prepared, state, jax.device_put(frame))
        pending.append(sr)
        if len(pending) > in_flight:
            yield pending.popleft()
    yield from pending
