"""The import arrows and proportions of the house (docs/architecture.md)."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ALLOWED = {
    "sdvsr_jax": {"sdvsr_jax"},
    "configs": {"sdvsr_jax", "configs"},
    "train": {"sdvsr_jax", "configs", "train"},
    "infer": {"sdvsr_jax", "configs", "infer"},
    "benchmarks": {"sdvsr_jax", "infer", "benchmarks", "tests"},
}
"""Which of our packages each may import; benchmarks compare with `tests.oracles`."""

PACKAGES = tuple(ALLOWED)
FOLDERS = (*PACKAGES, "tests", "examples")

TRAINING = {"grain", "tensorflow_datasets", "orbax"}
"""What only training needs: upscaling starts without it."""

FORBIDDEN = {
    "sdvsr_jax": TRAINING | {"torch", "tensorflow", "av", "cv2", "PIL"},
    "configs": TRAINING | {"torch", "tensorflow"},
    "infer": TRAINING | {"torch", "tensorflow"},
    "train": {"torch", "tensorflow"},
    "benchmarks": TRAINING | {"tensorflow"},
}

FUNCTION_NODES = 350
STATEMENT_NODES = 122
"""Most nodes of the syntax tree that one function and one expression may have.

A limit on lines rewards packing; nodes measure what a reader must hold in mind at once.
The median function has about 40 nodes, the median statement 5 to 9.
"""

LIBRARY = (
    ("types", "config", "atomic", "video_names"),
    ("state", "ops", "diffusion"),
    ("metrics",),
    ("models",),
    ("networks", "prepare", "history", "restoration", "stream", "weights"),
    ("flops", "snapshot", "tiles", "memory"),
    ("upscaler",),
)
"""Floors of sdvsr_jax from the ground up; an import never points upwards."""

INFER = (
    (
        "errors",
        "tags",
        "code_points",
        "colours",
        "targets",
        "frame",
        "similar",
        "pipeline",
        "latency",
    ),
    ("console",),
    ("sources", "model", "sinks"),
    ("options",),
    ("jobs",),
    ("cluster",),
    ("command",),
    ("evaluation", "ui"),
    ("__main__",),
)
"""Floors of infer: a frame is known to all, the command knows all."""

NEIGHBOURS = {"sources": set(), "model": set(), "sinks": {"sources"}}
"""Rooms of one floor do not know each other, but for sinks, which read back what they
wrote.
"""


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Yields (name below the package, file); the package itself is ''."""
    folder = ROOT / package
    files = sorted(folder.rglob("*.py"))
    # a law about no file at all would always hold
    assert files, f"no modules in {folder}"
    for path in files:
        parts = path.relative_to(folder).with_suffix("").parts
        dotted = ".".join(parts)
        yield dotted.removesuffix("__init__").rstrip("."), path


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def inner_imports(package: str, path: Path) -> set[str]:
    """Modules of its own package that a file imports, named below the package."""
    prefix = f"{package}."
    return {
        name.removeprefix(prefix) for name in imports(path) if name.startswith(prefix)
    }


def floors(names: tuple[tuple[str, ...], ...]) -> defaultdict[str, int]:
    """Returns the floor of every room; a room that is not listed is on the ground."""
    levels: defaultdict[str, int] = defaultdict(int)
    for level, rooms in enumerate(names):
        levels.update(dict.fromkeys(rooms, level))
    return levels


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_the_arrows_allow(package: str) -> None:
    ours = {*PACKAGES, "tests"}
    for _, path in modules(package):
        roots = {name.split(".")[0] for name in imports(path)}
        assert roots & ours <= ALLOWED[package], path
        assert not roots & FORBIDDEN[package], path


def test_inside_the_library_imports_point_downwards() -> None:
    levels = floors(LIBRARY)
    for name, path in modules("sdvsr_jax"):
        if not name:
            continue
        level = levels[name.split(".")[0]]
        for other in inner_imports("sdvsr_jax", path):
            room = other.split(".")[0]
            assert levels[room] <= level, f"{path} imports {other}"


def test_a_frame_goes_through_infer_from_left_to_right() -> None:
    levels = floors(INFER)
    for name, path in modules("infer"):
        if not name:
            continue
        room = name.split(".")[0]
        for other in inner_imports("infer", path):
            neighbour = other.split(".")[0]
            if neighbour == room:
                continue
            allowed = levels[neighbour] < levels[room]
            if levels[neighbour] == levels[room] and room in NEIGHBOURS:
                allowed = neighbour in NEIGHBOURS[room]
            elif levels[neighbour] == levels[room] == 0:
                allowed = True  # the ground floor is one room
            assert allowed, f"{path} imports infer.{other}"


def packages_after(lines: list[str]) -> set[str]:
    """The packages that a fresh process has imported when it has run these lines."""
    ends = ["import sys", "print(*{name.split('.')[0] for name in sys.modules})"]
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(lines + ends)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        # all modules are imported in seconds, beside other tests in a minute
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_upscaling_starts_without_what_only_training_needs() -> None:
    """Every module of the library and the command, imported in a fresh process."""
    rooms = ("sdvsr_jax", "infer")
    names = [
        f"{room}.{name}".rstrip(".")
        for room in rooms
        for name, _ in modules(room)
        # The page and the workers are optional: their engines are extras.
        if not name.startswith(("ui", "cluster"))
    ]
    lines = [
        "import importlib",
        f"for name in {names}: importlib.import_module(name)",
    ]
    assert not TRAINING & packages_after(lines)


def test_a_start_with_kept_programs_imports_no_networks() -> None:
    """A file job's modules; an engine imports the networks where it must trace them."""
    names = ("command.upscale", "jobs.announce", "jobs.file_job", "model.engine")
    lines = [f"import infer.{name}" for name in names]
    absent = {"flax", "scipy", "optax", "huggingface_hub", "ray", "starlette"}
    assert not absent & packages_after(lines)


def test_models_share_layers_and_never_import_each_other() -> None:
    shared = {"linear", "layers", "blocks", "flow"}
    for _, path in modules("sdvsr_jax/models"):
        if path.parent.name != "models":
            continue
        inner = inner_imports("sdvsr_jax", path)
        used = {name.split(".")[1] for name in inner if name.startswith("models.")}
        assert used <= shared, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_functions_and_statements_hold_one_thought(folder: str) -> None:
    for name, path in modules(folder):
        tree = WithoutAnnotations().visit(ast.parse(path.read_text("utf-8")))
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            place = f"{folder}/{name}: {function.name}"
            statements = body(function)
            total = sum(map(count_nodes, statements))
            assert total <= FUNCTION_NODES, f"{place} holds {total} nodes: divide it"
            for statement in statements:
                check_statement(statement, place)


def check_statement(statement: ast.stmt, place: str) -> None:
    for node in ast.walk(statement):
        if isinstance(node, ast.Assign | ast.Return | ast.Expr | ast.AugAssign):
            nodes = count_nodes(node.value) if node.value else 0
            line = f"{place}, line {node.lineno}"
            assert nodes <= STATEMENT_NODES, f"{line}: {nodes} nodes: name its parts"


class WithoutAnnotations(ast.NodeTransformer):
    """Types help a reader and are not counted."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        arguments = node.args
        groups = (arguments.posonlyargs, arguments.args, arguments.kwonlyargs)
        for group in groups:
            for argument in group:
                argument.annotation = None
        return node

    visit_AsyncFunctionDef = visit_FunctionDef


def body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """The statements of a function without its docstring."""
    has_docstring = ast.get_docstring(function) is not None
    return function.body[1:] if has_docstring else function.body


def count_nodes(tree: ast.AST) -> int:
    """Returns the nodes that carry meaning: no operators, no contexts of names."""
    skipped = (
        ast.expr_context,
        ast.operator,
        ast.cmpop,
        ast.boolop,
        ast.unaryop,
        ast.arguments,
    )
    return sum(not isinstance(node, skipped) for node in ast.walk(tree))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_file_is_named_after_a_thing(package: str) -> None:
    for _, path in modules(package):
        assert path.stem not in {"utils", "common", "helpers", "misc"}, path
