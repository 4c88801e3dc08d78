"""Weights between a model and what it became by further training.

    python -m train.blend --start nano --trained runs/real/joint/weights.safetensors \
        --share 0.7 --out nano.safetensors

On the way from one to the other, what was learned comes faster than what was known
goes (Wortsman et al. 2022, arXiv 2109.01903): part of the way keeps clean input as
good as it was.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sdvsr_jax.models.restorer import IMAGE_CHANNELS
from sdvsr_jax.types import Array, Params
from sdvsr_jax.weights import load as checkpoint


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
    names = trained.keys() - {"restorer"} if "restorer" not in start else trained.keys()
    if names != start.keys():
        raise ValueError(
            f"the parts of the models differ ({sorted(start)} and {sorted(trained)}), "
            "expected a model and what was trained from it"
        )
    rest = {name: trained[name] for name in names}
    blended = jax.tree.map(lambda a, b: (1 - share) * a + share * b, dict(start), rest)
    if "restorer" in names or "restorer" not in trained:
        return blended
    return blended | {"restorer": weakened(trained["restorer"], share)}


def weakened(restorer: Params, share: float) -> Params:
    """Returns a restorer with that share of the residual, its amount and its memory as
    they were.
    """
    layer = restorer["conv_out"]
    factors = output_factors(layer["bias"].shape[0], share)
    conv_out = {name: np.asarray(values) * factors for name, values in layer.items()}
    return restorer | {"conv_out": conv_out}


def output_factors(width: int, share: float) -> Array:
    """Returns ``share`` where the last layer writes a residual, and 1 elsewhere."""
    channel = jnp.arange(width)
    # red, green, blue and amount of each folded pixel, then the memory
    is_residual = (channel < IMAGE_CHANNELS) & (channel % 4 < 3)
    return jnp.where(is_residual, share, 1.0)


def main(arguments: list[str] | None = None) -> int:
    """Reads two models and writes the one between them."""
    import tyro

    settings = tyro.cli(Settings, args=arguments, prog="python -m train.blend")
    _, start = checkpoint.load(settings.start)
    config, trained = checkpoint.load(settings.trained)
    params = blend(start, trained, settings.share)
    checkpoint.save(settings.out, config, params)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
