"""How the models compute, by name: the type of activations, and of products where they are quantised."""

import dataclasses

from sdvsr_jax.config import ModelConfig

CHOICES = ("float32", "bfloat16", "float16", "bfloat16+int8", "bfloat16+float8")


def in_precision(config: ModelConfig, name: str) -> ModelConfig:
    """The config that computes like that; ``name`` is one of CHOICES."""
    compute_dtype, _, quantized = name.partition("+")
    return dataclasses.replace(config, compute_dtype=compute_dtype, quantized=quantized or "none")


def precision_of(config: ModelConfig) -> str:
    """The name for `in_precision`."""
    return config.compute_dtype + ("" if config.quantized == "none" else f"+{config.quantized}")
