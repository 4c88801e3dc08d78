"""Every command in the documents is one that its program takes, and links lead there.

A command is parsed by the parser of its program and goes no further; those of the
README's table run in tests/infer/test_documented_jobs.py.
"""

import argparse
import ast
import importlib
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import documents
import pytest
import tyro
from documents import ROOT, Command

import sdvsr_jax

CONFIG_WORD = "NAME"
"""What documents write for any config's name."""


class Parsed(Exception):
    """The program has taken its words."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs stop once their own parser is content."""
    parse_typed = tyro.cli
    parse_args = argparse.ArgumentParser.parse_args

    def cli(*arguments: Any, **named: Any) -> NoReturn:
        parse_typed(*arguments, **named)
        raise Parsed

    def parse(parser: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        parse_args(parser, *arguments)
        raise Parsed

    monkeypatch.setattr(tyro, "cli", cli)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)


def test_the_documents_have_commands_and_python() -> None:
    """Otherwise the tests of each would be skipped, not failed."""
    assert documents.commands()
    assert documents.python_blocks()


@pytest.mark.parametrize("command", documents.commands(), ids=str)
def test_a_command_is_one_that_its_program_takes(
    command: Command, parse_only: None
) -> None:
    program, *words = command.words
    if program == "sdvsr":
        parse_module("infer", words)
    elif program == "sdvsr-train":
        parse_module("train", words)
    elif program == "make":
        check_make(words)
    elif program == "pip":
        check_pip(words)
    elif program == "pytest":
        check_pytest(words)
    elif program == "python":
        parse_python(words)
    else:
        assert words == ["run", "pre-commit", "install"]


def parse_python(words: list[str]) -> None:
    if words[:2] == ["-m", "pytest"]:
        check_pytest(words[2:])
    elif words[:1] == ["-m"]:
        parse_module(words[1], words[2:])
    else:
        assert (ROOT / words[0]).is_file(), f"there is no {words[0]}"


def parse_module(name: str, words: list[str]) -> None:
    """Hands the words to `python -m NAME`; without words there is nothing to refuse."""
    entry = f"{name}.__main__" if name in ("infer", "train", "benchmarks") else name
    module = importlib.import_module(entry)
    if not words:
        return
    words = [word.replace(f"={CONFIG_WORD}", "=smoke") for word in words]
    if name == "train.cost":
        own_flags = {"--compile", "--run", "--loader"}
        words = [word for word in words if word not in own_flags]
        module = importlib.import_module("train.__main__")
        name = "train"
    parse = module.parse if name == "train" else subcommand(module, words)
    # --help is content with itself: status 0
    with pytest.raises((Parsed, SystemExit)) as end:
        parse(words)
    assert isinstance(end.value, Parsed) or end.value.code == 0


def subcommand(module: Any, words: list[str]) -> Any:
    """Returns the parser of a module's words, without its way of telling errors."""
    commands = getattr(module, "COMMANDS", {})
    is_infer = module.__name__ == "infer.__main__"
    if not is_infer:
        return module.main
    name = words.pop(0) if words[0] in commands else "upscale"
    return importlib.import_module(commands[name]).main


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in words:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def check_pip(words: list[str]) -> None:
    assert words[:2] == ["install", "-e"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = re.findall(r"\[(.*)\]", words[2])
    assert {*extras} <= {*project["optional-dependencies"]}


def check_pytest(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    settings = project["tool"]["pytest"]["ini_options"]
    marks = {re.split(r"\W", mark)[0] for mark in settings["markers"]}
    parser = argparse.ArgumentParser()
    for option in ("-m", "-k"):
        parser.add_argument(option)
    parser.add_argument("-s", action="store_true")
    parser.add_argument("paths", nargs="*")
    # Not parse_args, which the fixture has stopped.
    options, unknown = parser.parse_known_args(words)
    assert not unknown
    assert options.m is None or options.m in marks
    for path in options.paths:
        assert (ROOT / path).exists(), f"there is no {path}"


@pytest.mark.parametrize(("document", "source"), documents.python_blocks())
def test_python_in_a_document_uses_names_that_exist(document: str, source: str) -> None:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "sdvsr_jax":
            for alias in node.names:
                assert hasattr(sdvsr_jax, alias.name), f"{document}: {alias.name}"


@pytest.mark.parametrize("path", documents.documents(), ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", path.read_text("utf-8"))
    files = [path.parent / target for target in targets if "://" not in target]
    absent = [str(file) for file in files if not file.exists()]
    assert not absent


def test_the_drawing_of_a_step_is_what_its_script_draws(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "docs" / "draw_step.py"))
    drawing = (ROOT / "docs" / "pictures" / "step.svg").read_text("utf-8")
    assert script["drawing"]() == drawing


def test_every_plotted_figure_has_its_command_machine_and_baseline() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_plots.py"))
    entries = script["entries"]()
    # The page shows three plots; the commands are parsed as those of documents are.
    assert len(entries) == 3
    for name, entry in entries.items():
        assert (ROOT / "docs" / "pictures" / f"{name}.svg").is_file()
        words = documents.command_words(entry["command"])
        assert words[:3] == ("python", "-m", "benchmarks")
        assert entry["machine"]
        assert entry["baseline"]


def test_the_manifest_for_kubernetes_starts_a_command_that_is_taken(
    parse_only: None,
) -> None:
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "examples" / "kuberay.yaml").read_text("utf-8")
    job = yaml.safe_load(text)
    assert job["apiVersion"] == "ray.io/v1"
    assert job["kind"] == "RayJob"
    program, *words = documents.command_words(job["spec"]["entrypoint"])
    assert program == "sdvsr"
    parse_module("infer", words)
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    # workers of other versions are refused
    assert len(images) == 1
