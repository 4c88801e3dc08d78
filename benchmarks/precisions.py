"""How the models compute, by name: the type of activations, and of products where they
are quantised.
"""

import dataclasses

from sdvsr_jax.config import ModelConfig

CHOICES = ("float32", "bfloat16", "float16", "bfloat16+int8", "bfloat16+float8")


def activations(name: str) -> str:
    """The type of activations; ``name`` is one of CHOICES."""
    return name.partition("+")[0]


def in_precision(config: ModelConfig, name: str) -> ModelConfig:
    """The config that computes like that."""
    quantized = name.partition("+")[2] or "none"
    return dataclasses.replace(
        config, compute_dtype=activations(name), quantized=quantized
    )


def precision_of(config: ModelConfig) -> str:
    """The name for `in_precision`."""
    return config.compute_dtype + (
        "" if config.quantized == "none" else f"+{config.quantized}"
    )
