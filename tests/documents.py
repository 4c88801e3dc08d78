"""The commands in the documents, as words."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

PROGRAMS = ("sdvsr", "sdvsr-train", "python", "make", "pip", "pipx", "pytest")
OTHERS = ("ffmpeg", "ffplay")
"""Programs of other projects in a pipe with ours."""

SETTING = re.compile(r"[A-Z_]+=\S*")


class Command(NamedTuple):
    """A command of a document; ``words`` begin with the program."""

    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.words)}"


def documents() -> list[Path]:
    """All Markdown files but the changelog, which tells of the past."""
    folders = (ROOT, ROOT / "docs", ROOT / "examples", ROOT / "sdvsr_jax" / "weights")
    files = [path for folder in folders for path in sorted(folder.glob("*.md"))]
    return [path for path in files if path.name != "CHANGELOG.md"]


def commands() -> list[Command]:
    """Returns every command once, from the first document that has it."""
    first: dict[tuple[str, ...], Command] = {}
    for command in _commands():
        first.setdefault(command.words, command)
    return list(first.values())


def _commands() -> Iterator[Command]:
    for path in documents():
        name = path.relative_to(ROOT).as_posix()
        for text in code(path.read_text("utf-8")):
            # A bar inside a table's cell is written with a backslash.
            parts = text.replace("\\|", "|").split("|")
            for part in parts:
                words = command_words(part)
                if words:
                    yield Command(name, words)


def code(text: str) -> Iterator[str]:
    """Yields lines of fenced blocks without a language and of indented blocks, and code
    spans.
    """
    language: str | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            language = line[3:].strip() if language is None else None
        elif language is not None:
            if language in ("", "bash"):
                yield line
        elif line.startswith("    "):
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)


def command_words(text: str) -> tuple[str, ...]:
    """Returns the words of a command line, or none if it is something else."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return ()
    while words and SETTING.fullmatch(words[0]):
        words.pop(0)
    is_ours = bool(words) and words[0] in PROGRAMS
    if not is_ours:
        return ()
    # "..." stands for words of the reader's; [...] for a choice.
    return tuple(_plain(word) for word in words if word != "...")


def _plain(word: str) -> str:
    word = word.removesuffix("...")
    is_choice = word.startswith("[") and word.endswith("]")
    return word[1:-1] if is_choice else word


def python_blocks() -> list[tuple[str, str]]:
    """Returns (document, source) of every block marked as Python."""
    blocks = []
    for path in documents():
        text = path.read_text("utf-8")
        sources = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        blocks += [(path.name, source) for source in sources]
    return blocks
