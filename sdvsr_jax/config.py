"""Static configuration: frozen dataclasses that describe a model completely, and the
two presets.

A config is hashable (a static argument of jit) and is stored as JSON beside the weights
it belongs to.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

Attention = Literal["none", "cross", "self"]
NormKind = Literal["group", "rms"]


@dataclass(frozen=True)
class UNetConfig:
    """Conditional U-Net (SD x4-upscaler layout); the guidance branch shares these block
    settings.
    """

    latent_channels: int = 4
    image_channels: int = 3
    """Channels of the LR image that is concatenated behind the latents."""
    block_channels: tuple[int, ...] = (256, 512, 512, 1024)
    layers_per_block: int = 2
    attention: tuple[Attention, ...] = ("none", "cross", "cross", "self")
    """Per level: no transformer; both attentions on the text; self-attention, then
    text.
    """
    # the published file calls it `attention_head_dim`, but it is the number of heads
    num_heads: int = 8
    text_channels: int = 1024
    norm: NormKind = "group"
    """'group' has frame statistics; 'rms' normalises each pixel alone, so tiles and
    sizes agree.
    """
    num_groups: int = 32
    patch: int = 1
    """Latents and LR image are folded patch x patch into channels before the first
    convolution.
    """


@dataclass(frozen=True)
class GuidanceConfig:
    """ARTG: ControlNet fed with the warped previous SR frame (paper section on
    auto-regressive guidance).
    """

    condition_channels: tuple[int, ...] = (64, 128, 256)
    """One stride-2 stage per step; the product with `condition_fold` must equal scale *
    unet.patch.
    """
    condition_fold: int = 1
    """The condition image is folded this much into channels before the first
    convolution.
    """
    mask_channel: bool = False
    """Append the validity of the warped frame to the condition (1 = trust)."""


@dataclass(frozen=True)
class VAEConfig:
    """Tiny autoencoder with temporal processor modules (TPM) in its decoder blocks."""

    latent_channels: int = 4
    encoder_channels: tuple[int, ...] = (64, 64, 64)
    encoder_blocks: tuple[int, ...] = (1, 3, 3)
    encoder_fold: int = 1
    decoder_channels: tuple[int, ...] = (64, 64, 64)
    decoder_blocks: tuple[int, ...] = (3, 3, 1)
    decoder_fold: int = 1
    """The last convolution predicts fold x fold pixels per position."""
    scaling_factor: float = 1.0
    latent_magnitude: float = 3.0
    tpm: Literal["sequence", "spatial"] = "sequence"
    """'sequence': the published raster-order module; 'spatial': convolutions on
    (current, previous, validity).
    """
    residual: bool = False
    """Code HR - bicubic(LR) instead of HR, with the LR frame as a second input of
    encoder and decoder.
    """
    back_project: bool = False
    """Add up(LR - down(SR)) to the decoded frame, so that the output agrees with its
    input.
    """


@dataclass(frozen=True)
class RAFTConfig:
    """RAFT-large (torchvision layout), run on the bicubically upsampled frames as
    published.
    """

    num_updates: int = 12
    correlation: Literal["auto", "volume", "on_demand"] = "auto"
    """All-pairs volume (quadratic memory) or looked up on demand (linear); the same
    values.
    """
    channels: int = 64
    """Width of the first stage, even; every other width is a multiple of its half
    (RAFT-large: 64).
    """
    # bfloat16 brought nothing on an H200 with CUDA graphs (65.6 to 65.8 ms), and moved
    # frames by 9e-3 (docs/log.md)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the convolutions; correlation, positions and flow are float32."""
    kind: Literal["raft"] = "raft"

    @property
    def stride(self) -> int:
        """LR pixels per pixel at the coarsest of four levels, at scale 4."""
        return 16


@dataclass(frozen=True)
class FlowNetConfig:
    """Our small coarse-to-fine flow network on the LR frames."""

    channels: int = 24
    num_levels: int = 4
    """Levels 1/2 ... 1/2**num_levels of the LR size, one decoder shared by all."""
    refinements: int = 0
    """Least-squares steps (Lucas-Kanade) behind the network, on the frames at twice the
    LR size.
    """
    kind: Literal["flownet"] = "flownet"

    @property
    def stride(self) -> int:
        """LR pixels per pixel at the coarsest level."""
        return 2**self.num_levels


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule and DDIM sampling (v-prediction, trailing spacing, eta 0)."""

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    # for our weights two steps cost 3 % of LPIPS and one 26 % (docs/results.md)
    num_steps: int = 4
    # the published sampler ends at alpha_bar[0], not at 1 (docs/parity.md)
    set_alpha_to_one: bool = False
    noise: Literal["frame", "stream"] = "frame"
    """Initial latents: new ones for every frame, as published; 'stream': the same for
    all frames of a stream, so that what is invented from them does not flicker.
    """


@dataclass(frozen=True)
class Quirks:
    """Deviations that only the published weights need; docs/parity.md has a line and a
    test for each.
    """

    warp_stretch: bool = False
    """Warp samples at x*W/(W-1) - 0.5 with grey outside, instead of the exact position
    and border pixels.
    """
    raw_tpm_input: bool = False
    """TPM features are taken from the [-1, 1] image although the encoder is trained on
    [0, 1].
    """
    decode_last_sample: bool = False
    """Decode the last DDIM sample instead of the last clean estimate."""
    unclamped_feedback: bool = False
    """Carry the raw decoder output to the next frame instead of clamping it to [-1, 1].
    """
    bare_first_frame: bool = False
    """Without a previous frame skip guidance and TPM, instead of guiding with the
    bicubic frame.
    """


@dataclass(frozen=True)
class HistoryConfig:
    """When the previous frame is trusted. Published behaviour: always (both zero)."""

    consistency_sigma: float = 0.0
    """LR photometric error (units of [-1, 1]) at which the validity of a warped pixel
    falls to 1/e; 0: off.
    """
    cut_validity: float = 0.0
    """A mean validity below this is a scene cut: the stream restarts its history."""


@dataclass(frozen=True)
class RestorerConfig:
    """Repair of the LR frame (compression, noise, blur) before all else sees it."""

    channels: int = 48
    num_blocks: int = 5
    memory_channels: int = 16
    """Carried from frame to frame at half the LR size."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything `stream.step` needs to know besides the weights."""

    name: str
    scale: int = 4
    unet: UNetConfig = field(default_factory=UNetConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    flow: RAFTConfig | FlowNetConfig = field(default_factory=RAFTConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    quirks: Quirks = field(default_factory=Quirks)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    restorer: RestorerConfig | None = None
    """None: frames are taken as they are, as published."""
    # frames that the published code takes as they are need no padding here either: it
    # resizes others, which changes their geometry (docs/parity.md)
    size_multiple: int = 4
    """LR frames are padded (edge pixels) to a multiple of this inside `step`; the
    output is cropped back.
    """
    min_size: int = 32
    """Smallest padded LR side."""
    # what either is worth: guidance 2.3 % of LPIPS and 6.4 % of tLP, TPM 5.4 % and 43 %
    # (docs/results.md)
    use_guidance: bool = True
    """False: denoise without ARTG (ablation)."""
    use_tpm: bool = True
    """False: decode without the temporal processor modules (ablation)."""
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Activations of the networks; latents, DDIM, flow, warp and statistics stay
    float32.
    """
    remat: bool = False
    """Training: recompute each timestep's networks in the backward pass instead of
    keeping their activations.
    """
    unroll: bool = False
    """Training: the sampling steps one after the other instead of a loop; the same
    values.
    """

    def __post_init__(self) -> None:
        num_halvings = len(self.guidance.condition_channels) - 1
        downsampling = 2**num_halvings * self.guidance.condition_fold
        # from SR pixels to patches of latents, which are as large as LR pixels
        expected = self.scale * self.unet.patch
        if downsampling != expected:
            raise ValueError(
                f"guidance condition is reduced {downsampling}x, expected scale*patch "
                f"= {expected}: change condition_fold or condition_channels"
            )
        if self.unet.latent_channels != self.vae.latent_channels:
            raise ValueError(
                f"unet.latent_channels {self.unet.latent_channels} != "
                f"vae.latent_channels {self.vae.latent_channels}: they are the same "
                "latents"
            )
        num_entries = len(self.unet.attention)
        num_levels = len(self.unet.block_channels)
        if num_entries != num_levels:
            raise ValueError(
                f"unet.attention has {num_entries} entries for "
                f"{num_levels} levels of block_channels"
            )


def stream_diffvsr() -> ModelConfig:
    """The published model (Jamichsu/Stream-DiffVSR), 688 M parameters with its RAFT."""
    names = [quirk.name for quirk in dataclasses.fields(Quirks)]
    quirks = Quirks(**dict.fromkeys(names, True))
    return ModelConfig(name="stream_diffvsr", quirks=quirks)


def nano() -> ModelConfig:
    """Our small model: at most 90 GFLOP per 1280x720 frame.

    The weights shipped here have a restorer beside it, in a config of their own.
    """
    return ModelConfig(
        name="nano",
        unet=UNetConfig(
            latent_channels=8,
            # 32 and 96: half as many parameters again, and a tenth longer a frame
            block_channels=(32, 64),
            layers_per_block=1,
            # neither attention nor norms over the frame: a tile far enough from the
            # edge has the frame's pixels, and the prompt is empty anyway
            attention=("none", "none"),
            norm="rms",
            # four LR pixels as one position: a quarter of the arithmetic, four times
            # the reach
            patch=2,
        ),
        # one convolution on 8x8 SR pixels replaces the published pyramid of seven
        guidance=GuidanceConfig(
            condition_channels=(48,),
            condition_fold=8,
            mask_channel=True,
        ),
        vae=VAEConfig(
            latent_channels=8,
            encoder_channels=(48,),
            encoder_blocks=(1,),
            encoder_fold=4,
            decoder_channels=(48,),
            decoder_blocks=(4,),
            decoder_fold=4,
            tpm="spatial",
            # it starts from the bicubic frame and ends by agreeing with its input, so
            # the little network only adds detail
            residual=True,
            back_project=True,
        ),
        # two steps of least squares: without them +1.9 % LPIPS and +16 % tLP
        # (docs/results.md)
        flow=FlowNetConfig(refinements=2),
        # detail that is invented from noise would flicker with new noise per frame, by
        # 1.1 % of tLP (docs/results.md)
        diffusion=DiffusionConfig(noise="stream"),
        history=HistoryConfig(consistency_sigma=0.15, cut_validity=0.25),
        size_multiple=2,
        min_size=16,
    )


PRESETS = {"nano": nano, "stream_diffvsr": stream_diffvsr}


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """JSON-ready form; `from_dict` is its inverse."""
    return dataclasses.asdict(config)


# Fields of earlier versions, which weight files may still carry: switches for the
# speed, not part of any model.
RETIRED = {"guide_once", "quantized", "resolution"}


# Numbers beyond which a damaged or forged file would only ask for work without end.
LARGEST_NUMBER = 65536
LARGEST = {
    # each level halves the picture
    "num_levels": 8,
    "num_steps": 1000,
    "num_updates": 1000,
    "layers_per_block": 100,
    "num_blocks": 100,
    "encoder_blocks": 100,
    "decoder_blocks": 100,
    "refinements": 100,
    "scale": 16,
    "size_multiple": 1024,
    "min_size": 1024,
}
MAY_BE_ZERO = {"refinements", "encoder_blocks", "decoder_blocks"}


def from_dict(data: dict[str, Any]) -> ModelConfig:
    """Rebuilds a config; unknown keys, wrong kinds and absurd numbers are ValueErrors
    that name the path.
    """
    config = _build(ModelConfig, data, "config")
    diffusion = config.diffusion
    if diffusion.num_steps > diffusion.num_train_timesteps:
        raise ValueError(
            f"config.diffusion.num_steps: found {diffusion.num_steps}, expected at "
            f"most num_train_timesteps = {diffusion.num_train_timesteps}"
        )
    return config


def _build(kind: Any, value: Any, path: str) -> Any:
    """Returns ``value`` as an instance of the annotation ``kind``."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return _build_union(typing.get_args(kind), value, path)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_record(kind, value, path)
    if origin is tuple:
        item, *_ = typing.get_args(kind)
        return tuple(_build(item, v, path) for v in value)
    if origin is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ValueError(f"{path}: found {value!r}, expected one of {choices}")
        return value
    # True is an int to Python
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # JSON writes 1.0 as 1
    if kind is float and is_number:
        _check_range(float(value), path)
        return float(value)
    if not (isinstance(kind, type) and isinstance(value, kind)):
        name = getattr(kind, "__name__", kind)
        raise ValueError(f"{path}: found {value!r}, expected {name}")
    if is_number:
        _check_range(value, path)
    return value


def _check_range(value: int | float, path: str) -> None:
    """Raises ValueError for a number with which no model can be built."""
    _, _, name = path.rpartition(".")
    may_be_zero = isinstance(value, float) or name in MAY_BE_ZERO
    low = 0 if may_be_zero else 1
    high = LARGEST.get(name, LARGEST_NUMBER)
    if not low <= value <= high:  # also not a number
        raise ValueError(f"{path}: found {value!r}, expected {low} to {high}")


def _build_union(members: tuple, value: Any, path: str) -> Any:
    """A record or None, or one of several records by their ``kind``."""
    if type(None) in members:
        if value is None:
            return None
        record, _ = members
        return _build(record, value, path)
    kinds = {m.__dataclass_fields__["kind"].default: m for m in members}
    tag = value.get("kind") if isinstance(value, dict) else None
    if tag not in kinds:
        raise ValueError(f"{path}.kind: found {tag!r}, expected one of {sorted(kinds)}")
    return _build(kinds[tag], value, path)


def _build_record(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(
            f"{path}: found {value!r}, expected the fields of {kind.__name__}"
        )
    hints = typing.get_type_hints(kind)
    data = {name: v for name, v in value.items() if name not in RETIRED}
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ValueError(
            f"{path}: unknown fields {unknown}, expected some of {sorted(hints)}"
        )
    try:
        fields = {
            name: _build(hints[name], v, f"{path}.{name}") for name, v in data.items()
        }
        return kind(**fields)
    # of a missing field, or of a number where a list should be
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None
