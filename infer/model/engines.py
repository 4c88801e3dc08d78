"""Models and engines of one command, kept for the next input of a batch."""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infer.model.engine import Engine, Model
    from infer.model.tiled import TiledEngine

MAX_MODELS = 1
MAX_ENGINES = 4
"""A batch rarely mixes more frame sizes, and each engine holds a compiled program."""


class Engines:
    """Loads models and compiles engines; the last few are kept as long as this lives.

    Making one is free: jax is imported when the first model is asked for, after
    everything that can be wrong with files and options.
    """

    @functools.cached_property
    def load(self) -> "functools._lru_cache_wrapper[Model]":
        """`load_model`, with the last model kept."""
        from infer.model.engine import load_model

        return functools.lru_cache(MAX_MODELS)(load_model)

    @functools.cached_property
    def whole(self) -> "functools._lru_cache_wrapper[Engine]":
        """`Engine`, with the last few kept."""
        from infer.model.engine import Engine

        return functools.lru_cache(MAX_ENGINES)(Engine)

    @functools.cached_property
    def tiled(self) -> "functools._lru_cache_wrapper[TiledEngine]":
        """`TiledEngine`, with the last few kept."""
        from infer.model.tiled import TiledEngine

        return functools.lru_cache(MAX_ENGINES)(TiledEngine)
