"""The options of a job on the page and in the interface: those of the command line.

The only source is `infer.options.Options`; a new option of the command appears
here by itself, with its type, default and help.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import threading
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from infer.options import Options, parse
from infer.ui.refusal import Refusal

LEFT_OUT = {
    # the server says where files are
    "video",
    "output",
    "report",
    "overwrite",
    # a second start of a job goes on by itself
    "resume",
    "restart",
    # would read any file of the server
    "flow_weights",
    "trust_playlist",
    # a limit against hostile files is the server owner's to lift
    "max_pixels",
    # one job of the page makes one file
    "on_resize",
    # of folders of images and of live sessions
    "recursive",
    "fps",
    "live",
    "input_size",
    "raw_format",
    "raw_output",
    "timeout",
    "reconnect",
    # which other machines are asked for help is the server owner's to say
    "cluster",
    # of terminals
    "debug",
}

_parsing = threading.Lock()
"""tyro has one cache for the whole process, and empties it after each command line even
while another thread reads in it.
"""


class Option(typing.NamedTuple):
    """One option of the command. hint: its Python type."""

    name: str
    hint: Any
    default: Any
    help: str


@functools.cache
def find_options() -> tuple[Option, ...]:
    """Returns every option that the page may set, in the order of the command's help.

    Found once, before the first request: two threads that parse Python source at the
    same time are a SystemError in some versions of Python 3.11.
    """
    return tuple(_options_of(Options))


def _options_of(owner: Any) -> Iterator[Option]:
    hints = typing.get_type_hints(owner)
    helps = _docstrings(owner)
    for field in dataclasses.fields(owner):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _options_of(hint)
        elif field.name not in LEFT_OUT:
            text = helps.get(field.name, "")
            yield Option(field.name, hint, _default(field), text)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _docstrings(owner: Any) -> dict[str, str]:
    """Returns the string below each field, as its help, with those of its bases."""
    helps = {}
    for cls in reversed(owner.__mro__):
        if dataclasses.is_dataclass(cls):
            helps |= _own_docstrings(cls)
    return helps


def _own_docstrings(owner: Any) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(owner))
    (tree,) = ast.parse(source).body
    definition = typing.cast(ast.ClassDef, tree)
    helps = {}
    for statement, after in itertools.pairwise(definition.body):
        if not isinstance(statement, ast.AnnAssign):
            continue
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if is_text and isinstance(statement.target, ast.Name):
            value = after.value.value  # type: ignore[attr-defined]
            helps[statement.target.id] = " ".join(str(value).split())
    return helps


def form_model(models: Mapping[str, str]) -> type[BaseModel]:
    """Returns a type that checks the options of a job; models: names to choose from."""
    fields: dict[str, Any] = {}
    for option in find_options():
        hint, default = option.hint, option.default
        if option.name == "model":
            names = tuple(models)
            hint, default = Literal[names], names[0]
        # JSON has lists where Python has tuples; what is in them stays strict
        strict = False if typing.get_origin(hint) is tuple else None
        rule = Field(default, description=option.help, strict=strict)
        fields[option.name] = (hint, rule)
    config = ConfigDict(extra="forbid", strict=True)
    return create_model("JobOptions", __config__=config, **fields)


def command_words(values: Mapping[str, Any], models: Mapping[str, str]) -> list[str]:
    """Returns the words of the command for options that differ from its default."""
    words = []
    for option in find_options():
        value = values.get(option.name, option.default)
        if option.name == "model":
            # the page's default is its first model, the command's is another
            name = values.get("model") or next(iter(models))
            value = models[name]
        if value == option.default or value is None:
            continue
        word = "--" + option.name.replace("_", "-")
        if value is True:
            words.append(word)
        elif value is False:
            words.append(word.replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            words += [word, *map(str, value)]
        else:
            # one word, so that a value that begins with a dash is no option
            words.append(f"{word}={value}")
    return words


def parse_words(words: list[str]) -> Options:
    """Returns the command's own reading of an input and options; a Refusal with its
    sentence if it does not take them.
    """
    try:
        with _parsing:
            return parse(words)
    except ValueError as error:
        raise Refusal(400, str(error)) from None
    except SystemExit:
        raise Refusal(400, "The command does not take these options.") from None
