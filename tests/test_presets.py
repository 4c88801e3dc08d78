"""Programs of all presets can be kept in files, for a CPU and an NVIDIA GPU."""

import functools

import jax
import pytest

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
    frame = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    return prepared, state, frame


@pytest.mark.parametrize("preset", PRESETS)
def test_the_program_of_a_preset_is_kept_on_a_cpu(preset: str) -> None:
    config = TINY[preset]()
    arguments = shapes(config, output_first=False)
    run = functools.partial(step, config=config)
    data = compiled_cache.trace(run, arguments)
    program = compiled_cache.read(data)
    _, sr = program.lower(*arguments).out_info
    assert sr.shape == (1, 128, 128, 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_program_of_a_preset_is_kept_on_a_gpu(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracing and writing need no GPU; attention in float32 is not cuDNN's."""
    monkeypatch.setattr("sdvsr_jax.models.layers.device_kind", lambda: ("cuda", 9.0))
    config = TINY[preset]()
    # the exporter of the command, which knows our types whatever has run before
    export = compiled_cache.exporter()
    checks = [
        export.DisabledSafetyCheck.custom_call(target)
        for target in compiled_cache.UNCHECKED
    ]
    run = jax.jit(functools.partial(step, config=config))
    trace = export.export(run, platforms=["cuda"], disabled_checks=checks)
    program = trace(*shapes(config, output_first=True))
    has_layouts = "LayoutConstraint" in program.mlir_module()
    # group norms fix their layout on a GPU
    has_group_norm = config.unet.norm == "group"
    assert has_layouts == has_group_norm
    back = export.deserialize(program.serialize())
    assert back.platforms == ("cuda",)
    assert back.mlir_module() == program.mlir_module()
