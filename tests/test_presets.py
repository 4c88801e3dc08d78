"""Programs of all presets can be kept in files, for a CPU and an NVIDIA GPU."""

import functools

import jax
import pytest
from jax import export

from infer.model import compiled_cache
from sdvsr_jax import ModelConfig, init_state, step
from sdvsr_jax.config import PRESETS
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.prepare import _prepare
from tests.tiny_models import tiny_nano, tiny_published

TINY = {"nano": tiny_nano, "stream_diffvsr": tiny_published}


def shapes(config: ModelConfig, output_first: bool) -> tuple:
    """Prepared parameters, state and frame of the step, without the memory."""
    raw = abstract_params(config)
    prepared = jax.eval_shape(lambda p: _prepare(p, config, output_first), raw)
    state = jax.eval_shape(lambda: init_state(config, 1, 32, 32))
    return prepared, state, jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")


@pytest.mark.parametrize("preset", PRESETS)
def test_the_program_of_a_preset_is_kept_on_a_cpu(preset: str) -> None:
    config = TINY[preset]()
    arguments = shapes(config, output_first=False)
    data = compiled_cache.trace(functools.partial(step, config=config), arguments)
    _, sr = compiled_cache.read(data).lower(*arguments).out_info
    assert sr.shape == (1, 128, 128, 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_program_of_a_preset_is_kept_on_a_gpu(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracing and writing need no GPU; attention in float32 is not cuDNN's."""
    monkeypatch.setattr("sdvsr_jax.models.layers.device_kind", lambda: ("cuda", 9.0))
    config = TINY[preset]()
    checks = [
        export.DisabledSafetyCheck.custom_call(target)
        for target in compiled_cache.UNCHECKED
    ]
    traced = jax.jit(functools.partial(step, config=config))
    exported = export.export(traced, platforms=["cuda"], disabled_checks=checks)(
        *shapes(config, output_first=True)
    )
    has_group_norm = config.unet.norm == "group"
    assert ("LayoutConstraint" in exported.mlir_module()) == has_group_norm
    assert len(exported.serialize()) > 0
