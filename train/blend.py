"""Weights between a model and what it became by further training.

    python -m train.blend --start nano --trained runs/real/steady/weights.safetensors \
        --share 0.7 --out nano.safetensors

On the way from one to the other, what was learned comes faster than what was known
goes (Wortsman et al. 2022, arXiv 2109.01903): part of the way keeps clean input as
good as it was.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np

from sdvsr_jax.models.restorer import residual_channels
from sdvsr_jax.types import Params
from sdvsr_jax.weights import load as checkpoint
from train import command


@dataclass(frozen=True)
class Settings:
    """The two models, and how far to go from the first to the second."""

    start: str
    trained: str
    out: Path
    share: float = 0.7
    """0 is `start`, 1 is `trained`."""


def blend(start: Params, trained: Params, share: float) -> Params:
    """Returns (1 - share) start + share trained.

    A restorer that only `trained` has is blended with one that repairs nothing: its
    residual is multiplied by the share. Raises ValueError for other differences and
    for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share:g}, expected a number from 0 to 1")
    rest = dict(trained)
    added = {}
    if "restorer" not in start and "restorer" in rest:
        added["restorer"] = weakened(rest.pop("restorer"), share)
    if rest.keys() != start.keys():
        raise ValueError(
            f"the parts of the models differ ({sorted(start)} and {sorted(trained)}), "
            "expected a model and what was trained from it"
        )

    def between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return (1 - share) * before + share * after

    blended = jax.tree.map(between, dict(start), rest)
    return blended | added


def weakened(restorer: Params, share: float) -> Params:
    """Returns a restorer with that share of the residual, its amount and its memory as
    they were.
    """
    layer = restorer["conv_out"]
    num_channels = len(layer["bias"])
    is_residual = residual_channels(num_channels)
    # of numbers without a type the product would be float64
    factors = np.where(is_residual, np.float32(share), np.float32(1))
    conv_out = {}
    for name, values in layer.items():
        # the last axis of a kernel is its output, as the only one of a bias
        conv_out[name] = np.asarray(values) * factors
    return restorer | {"conv_out": conv_out}


def main(arguments: list[str] | None = None) -> int:
    """Reads two models and writes the one between them."""
    import tyro

    settings = tyro.cli(Settings, args=arguments, prog="python -m train.blend")
    return command.run(partial(_write, settings))


def _write(settings: Settings) -> None:
    command.require_new(settings.out, "--out")
    _, start = checkpoint.load(settings.start)
    config, trained = checkpoint.load(settings.trained)
    params = blend(start, trained, settings.share)
    checkpoint.save(settings.out, config, params)


if __name__ == "__main__":
    raise SystemExit(main())
