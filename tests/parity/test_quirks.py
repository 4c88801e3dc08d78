"""Each deviation that the published weights need shows in the decoded frames, so the
parity tests can see it.

A change below ten tolerances could hide in the tolerance; docs/parity.md lists the
deviations.
"""

import dataclasses

import cases
import compare
import jax_outputs
import numpy as np
import pytest

from sdvsr_jax.config import (
    GuidanceConfig,
    ModelConfig,
    Quirks,
    RAFTConfig,
    UNetConfig,
    VAEConfig,
)

# A dozen programs to compile.
pytestmark = pytest.mark.heavy

PUBLISHED = dataclasses.replace(
    cases.MODEL,
    unet=UNetConfig(
        block_channels=(8, 16),
        layers_per_block=1,
        attention=("none", "none"),
        num_groups=4,
        text_channels=24,
    ),
    guidance=GuidanceConfig(condition_channels=(8, 8, 8)),
    vae=VAEConfig(encoder_channels=(8, 8, 8), decoder_channels=(8, 8, 8)),
    flow=RAFTConfig(channels=8, num_updates=2),
)


def change(**parts: dict) -> ModelConfig:
    """The published model with fields of its parts replaced."""
    configs = {}
    for part, fields in parts.items():
        published = getattr(PUBLISHED, part)
        configs[part] = dataclasses.replace(published, **fields)
    return dataclasses.replace(PUBLISHED, **configs)


CHANGES = {
    **{
        field.name: change(quirks={field.name: False})
        for field in dataclasses.fields(Quirks)
    },
    "set_alpha_to_one": change(diffusion={"set_alpha_to_one": True}),
    "scaling_factor": change(vae={"scaling_factor": 0.18215}),
    "latent_magnitude": change(vae={"latent_magnitude": 1e3}),
    "num_updates": change(flow={"num_updates": 3}),
}


@pytest.fixture(scope="module")
def params():
    params = cases.params(PUBLISHED)
    # without attention there is no prompt
    del params["prompt_embeds"]
    return params


@pytest.fixture(scope="module")
def frames():
    # the second is the first that has history
    return {name: x[:2] for name, x in cases.pipeline().items()}


@pytest.fixture(scope="module")
def published(params, frames) -> np.ndarray:
    return jax_outputs.decoded(PUBLISHED, params, frames)


@pytest.mark.parametrize("name", CHANGES)
def test_change_shows(params, frames, published: np.ndarray, name: str) -> None:
    other = jax_outputs.decoded(CHANGES[name], params, frames)
    change = compare.error("decoded", other, published)
    # what is less could hide in the tolerance
    assert change > 10 * compare.DECODED


def test_correlation_forms_do_not_show(params, frames, published: np.ndarray) -> None:
    config = change(flow={"correlation": "on_demand"})
    other = jax_outputs.decoded(config, params, frames)
    assert compare.error("decoded", other, published) <= compare.DECODED
