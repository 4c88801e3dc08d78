"""Runs where only jax, flax, einops and numpy are: shape annotations then mean their
array type.
"""

import importlib.util
import sys
import types
from typing import Any


class _Annotation:
    def __getitem__(self, item: Any) -> Any:
        return item[0] if isinstance(item, tuple) else item


def stand_in() -> None:
    """Make ``import jaxtyping`` work, if it is not installed, with names that annotate
    and check nothing.
    """
    if "jaxtyping" in sys.modules or importlib.util.find_spec("jaxtyping") is not None:
        return
    import jax

    module = types.ModuleType("jaxtyping")
    for name in ("Bool", "Float", "Int", "Key"):
        setattr(module, name, _Annotation())
    module.__dict__["Array"] = jax.Array
    sys.modules["jaxtyping"] = module


def missing(*names: str) -> list[str]:
    """Which of these packages cannot be imported here."""
    return [name for name in names if importlib.util.find_spec(name) is None]
