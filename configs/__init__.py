"""Run configurations. Each module here is one run: its docstring is its command and
cost, its `run` the settings.

python -m train --config=distill --optimizer.learning-rate=1e-4
"""

import difflib
import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import Literal

Degradation = Literal["bicubic", "blind", "real"]
Objective = Literal["autoencode", "denoise", "decode", "flow", "restore", "rollout"]


@dataclass(frozen=True)
class DataConfig:
    """Windows of HR frames and how they become LR frames. A batch is a pure function of
    (seed, index).
    """

    path: str = "data/train"
    """Folder made by `python -m train.prepare`, or a packed .npy file."""
    split: str = "train"
    frames: int = 1
    """Frames in a window; a training run sets it from its objective."""
    crop: int = 32
    """Side of the LR crop; HR is 4x."""
    batch_size: int = 8
    """Windows per optimiser step, over all devices."""
    degradation: Degradation = "bicubic"
    flip: float = 0.5
    # so that the previous frame stands for the released code's "previous or next one"
    reverse: float = 0.5
    """Probability that a window runs backwards in time."""
    static: float = 0.0
    """Probability of a frozen window: recurrent models diverge first where nothing
    moves.
    """
    rendered: float = 0.0
    """Probability of a window of drawn text and graphics instead of one from the files.
    """
    visits: int = 8
    """Windows that an epoch takes from each shot."""
    candidates: int = 1
    """Crops that a window is chosen from: the one with most detail is taken."""
    max_start: int | None = None
    """Last start frame of a window in a shot; 3 repeats the released Vimeo recipe
    (im5-im7 never start one).
    """
    num_workers: int = 0
    """Loader processes; 0 uses threads of this one. A resume must keep the number."""
    num_threads: int = 2
    cache_mb: int = 1024
    """Decoded frames kept in memory."""


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW on the trained parameters."""

    # rate, warm-up, decay and clipping of the released code, the same in its stages
    learning_rate: float = 5e-5
    warmup: int = 1000
    """Optimiser steps of linear warm-up from 0."""
    decay: Literal["constant", "cosine"] = "constant"
    """'cosine': the last 20 % of the steps fall to zero."""
    weight_decay: float = 1e-2
    clip: float = 1.0
    """Global gradient norm."""
    accumulation: int = 1
    """Parts that a batch is computed in; gradients are averaged."""
    ema: float = 0.999
    """0: no average; else min(ema, (1 + k) / (10 + k)) at step k; a run exports the
    averaged weights.
    """


@dataclass(frozen=True)
class GANConfig:
    """Adversarial term: weight**power * adaptive ratio * softplus(-D(fake))."""

    weight: float = 0.0
    """0: no discriminator."""
    # once: a weight that is stated should be the one that acts
    power: int = 1
    """2 repeats the released code, which multiplies by its weight twice."""
    every: int = 1
    """Steps between adversarial steps."""
    start: int = 0
    """First step at which the term moves the generator."""
    gate: float = 0.0
    """The discriminator learns only while its loss is above this."""
    net: Literal["patch", "unet"] = "patch"
    """'unet': a small one with a logit per pixel."""
    # statistics of a batch of two or eight windows would be noise
    norm: Literal["batch", "group"] = "group"
    """Of the patch form."""
    adaptive: bool = True
    """False: the weight is taken as it is, which saves the second backward pass."""
    crop: int = 0
    """The critic sees a crop of this side at a random place; 0: everything."""
    texture: bool = False
    """The generator's term counts where the truth has gradients, so that flat areas
    stay flat; needs a logit per pixel.
    """
    value_range: Literal["pm1", "mixed"] = "pm1"
    """'mixed': images [0, 1] beside a condition in [-1, 1], noise on the real image
    only (released code).
    """
    conditional: bool = True
    """The bicubic frame is shown beside the image."""
    ratio_at: tuple[str, ...] = ()
    """Parameters at which the adaptive ratio is measured; empty: all trained ones."""
    learning_rate: float = 1e-4


@dataclass(frozen=True)
class LossConfig:
    """Weights; a term of weight 0 is not computed."""

    latent: float = 1.0
    # the paper's; 'v', of the released code, has another target unless the steps before
    # the last were right
    latent_form: Literal["x0", "v"] = "x0"
    pixel: float = 0.5
    pixel_form: Literal["charbonnier", "smooth_l1"] = "charbonnier"
    perceptual: float = 1.0
    """LPIPS."""
    perceptual_net: Literal["squeeze", "alex", "vgg16"] = "squeeze"
    perceptual_weights: str = ""
    """Safetensors file of the net; only squeeze is shipped."""
    temporal: float = 0.0
    """Masked residual against the previous output."""
    repair: float = 0.0
    """The repaired LR frame against the clean one (8-bit bicubic of the truth)."""
    change: float = 0.0
    """Restorer stage: the change from frame to frame against the clean one's."""
    phase: float = 0.0
    """Pattern of period 4: the 16 phase means of output less truth against each other.
    """
    shift: int = 0
    """LPIPS sees a crop that starts at a random pixel below this: its stride must not
    be learned.
    """
    flicker: float = 0.0
    """As tLP measures: |LPIPS(output, previous) - LPIPS(truth, previous)|."""
    moments: float = 0.0
    """Latents of the autoencoder towards mean 0, deviation 1."""
    photometric: float = 1.0
    smoothness: float = 0.1
    flow_match: float = 0.0
    """Flow of outputs against flow of truth (released decoder stage)."""
    flow_match_start: int = 0
    # what RAFT was trained on
    flow_match_range: Literal["pm1", "01"] = "pm1"
    gan: GANConfig = field(default_factory=GANConfig)


@dataclass(frozen=True)
class RolloutConfig:
    """The window of video training, and disturbances of the frame that is fed back."""

    hops: int = 1
    """Frames with a gradient, after the burn-in."""
    segment: int = 1
    """Hops that a gradient reaches back through; divides hops."""
    burn_in: int = 0
    """Up to so many frames without gradient first (uniform), so that errors of the
    feedback are met.
    """
    use_guidance: bool = True
    use_tpm: bool = True
    # as a stream does
    start: Literal["noise", "noised_gt"] = "noise"
    """'noised_gt': the released stages start from the noised ground truth."""
    feedback_truth: float = 0.0
    """Probability that the truth is fed back (teacher forcing), so that there is
    something to learn from it.
    """
    feedback_noise: float = 0.0
    """Half of the hops: Gaussian noise of deviation U(0, this) on the fed-back frame.
    """
    feedback_gain: float = 0.0
    """Per-channel gain and offset of up to this on the fed-back frame."""
    drop: float = 0.0
    """Probability per hop that a stream forgets its past (first frame)."""
    cut: float = 0.0
    """Probability that a window cuts to another scene."""
    decode_from: Literal["hr", "decoded"] = "decoded"
    """Decoder stage: the previous frame is the ground truth, or its plain
    reconstruction.
    """
    latent_noise: float = 0.0
    """Autoencoder and decoder stages: deviation of the noise added to latents, U(0,
    this).
    """
    latent_drop: float = 0.0
    """Autoencoder stage: probability of zero latents, so that the decoder alone is a
    good regressor.
    """


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    objective: Objective
    trained: tuple[str, ...]
    """Patterns of the parameter paths that move ('unet/*'); nothing else changes by one
    bit.
    """
    model: str = "nano"
    """Preset, when there is no `init`."""
    init: str = ""
    """Weights to start from: a file or folder, a shipped name or a hub id; empty: from
    scratch.
    """
    flow_weights: str = ""
    """torchvision RAFT weights, where `init` is the published layout."""
    out: str = ""
    """Folder of checkpoints, logs and weights; default runs/<config>."""
    steps: int = 10_000
    seed: int = 0
    num_timesteps: int = 0
    """Sampling steps; 0 keeps the model's."""
    add_restorer: bool = False
    """Give the start weights a fresh restorer, if they have none."""
    guidance_from_unet: bool = False
    """Start the guidance branch as a copy of the U-Net's encoder half."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False
    unroll: bool = True
    """Sampling steps and hops one after the other: on a CPU five times faster than
    loops (XLA is slow at gradients of convolutions inside them). False compiles sooner
    and needs the memory of one hop only.
    """
    fsdp: int = 1
    """Devices that parameters are split over; the other factor of the devices is data
    parallel.
    """
    log_every: int = 50
    validate_every: int = 1000
    validation_windows: int = 8
    drift_frames: int = 100
    checkpoint_every: int = 1000
    """Also written at the end, on Ctrl-C and SIGTERM."""

    def __post_init__(self) -> None:
        self._check_counts()
        if self.rollout.hops % self.rollout.segment:
            raise ValueError(
                f"rollout.hops {self.rollout.hops} is not a multiple of segment "
                f"{self.rollout.segment}"
            )
        size = self.data.batch_size
        parts = self.optimizer.accumulation
        if size % parts:
            raise ValueError(
                f"data.batch_size {size} is not a multiple of optimizer.accumulation "
                f"{parts}"
            )

    def _check_counts(self) -> None:
        """ValueError for a count that leaves nothing to do."""
        counts = {
            "fsdp": self.fsdp,
            "log_every": self.log_every,
            "validate_every": self.validate_every,
            "checkpoint_every": self.checkpoint_every,
            "data.batch_size": self.data.batch_size,
            "data.crop": self.data.crop,
            "optimizer.accumulation": self.optimizer.accumulation,
            "rollout.hops": self.rollout.hops,
            "rollout.segment": self.rollout.segment,
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} {count}: expected at least 1")

    @property
    def window(self) -> int:
        """Frames of a training window."""
        # those that look at one frame, or at a pair, have no rollout
        lengths = {"autoencode": 1, "denoise": 1, "decode": 2, "flow": 2}
        rollout_length = self.rollout.burn_in + self.rollout.hops
        return lengths.get(self.objective, rollout_length)


def names() -> list[str]:
    """All run names."""
    runs = []
    for module in pkgutil.iter_modules(__path__):
        # _official.py holds the settings of three runs and is none itself
        if not module.name.startswith("_"):
            runs.append(module.name)
    return sorted(runs)


def load(name: str) -> dict[str, RunConfig]:
    """The `chain` of stages of `configs.<name>`, or its one `run`; an unknown name is a
    ValueError with a hint.

    'NAME:STAGE,STAGE' are only these stages of a chain, in that order.
    """
    name, _, stages = name.partition(":")
    _check_name(name)
    module = importlib.import_module(f"configs.{name}")
    chain = module.chain if hasattr(module, "chain") else {name: module.run}
    # in the order asked for, not in the chain's
    selection = stages.split(",") if stages else list(chain)
    strangers = [stage for stage in selection if stage not in chain]
    if strangers:
        raise ValueError(
            f"--config={name}: no stage {', '.join(strangers)}; there are: "
            f"{', '.join(chain)}"
        )
    return {stage: chain[stage] for stage in selection}


def _check_name(name: str) -> None:
    runs = names()
    if name in runs:
        return
    hint = ""
    for neighbour in difflib.get_close_matches(name, runs, n=1):
        hint = f", perhaps you meant --config={neighbour}"
    all_runs = ", ".join(runs)
    raise ValueError(f"--config={name}: no such config{hint}; there are: {all_runs}")
