"""The import arrows and proportions of the house (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sdvsr_jax", "configs", "train", "infer", "benchmarks")

ALLOWED = {
    "sdvsr_jax": {"sdvsr_jax"},
    "configs": {"sdvsr_jax", "configs"},
    "train": {"sdvsr_jax", "configs", "train"},
    "infer": {"sdvsr_jax", "configs", "infer"},
    "benchmarks": {"sdvsr_jax", "infer", "benchmarks"},
}
"""Which of our packages each may import."""

FORBIDDEN = {
    "sdvsr_jax": {
        "av",
        "cv2",
        "torch",
        "tensorflow",
        "PIL",
        "tensorflow_datasets",
        "grain",
        "orbax",
    }
}

COMPARED = {"torch_published.py", "torch_nano.py", "torch_stream.py"}
"""PyTorch forms of the models, for comparison where it is installed; nothing imports
them at the top.
"""

LAYERS = {
    name: level
    for level, names in enumerate(
        (
            ("types", "config"),
            ("state", "ops", "diffusion"),
            ("metrics",),
            ("models",),
            ("networks", "history", "stream", "weights"),
            ("flops", "snapshot", "tiles", "memory"),
            ("upscaler",),
        )
    )
    for name in names
}
"""Inside sdvsr_jax an import never points upwards."""


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_the_arrows_allow(package: str) -> None:
    for path in sources(package):
        roots = {name.split(".")[0] for name in imports(path)}
        assert roots & set(PACKAGES) <= ALLOWED[package], path
        if path.name not in COMPARED:
            assert not roots & FORBIDDEN.get(package, {"torch", "tensorflow"}), path


def test_inside_the_library_imports_point_downwards() -> None:
    for path in sources("sdvsr_jax"):
        own = path.relative_to(ROOT / "sdvsr_jax").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "sdvsr_jax" and parts[1] in LAYERS:
                assert LAYERS[parts[1]] <= LAYERS[own], f"{path.name} imports {name}"


def test_models_share_layers_and_never_import_each_other() -> None:
    shared = {"linear", "layers", "blocks", "flow"}
    for path in (ROOT / "sdvsr_jax" / "models").glob("*.py"):
        used = {
            n.split(".")[2] for n in imports(path) if n.startswith("sdvsr_jax.models.")
        }
        assert used <= shared, path


@pytest.mark.parametrize("package", PACKAGES)
def test_files_fit_on_a_few_screens(package: str) -> None:
    for path in sources(package):
        assert len(path.read_text("utf-8").splitlines()) <= 450, (
            f"{path}: split it by concept"
        )
        assert path.stem not in {"utils", "common", "helpers", "misc"}, path
