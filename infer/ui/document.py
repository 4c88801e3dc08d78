"""Writes docs/api.md from the OpenAPI document: `python -m infer.ui.document`."""

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from infer.ui.app import build_app
from infer.ui.settings import Settings

HEAD = """# The interface of the page

`python -m infer ui` serves what follows; its page uses nothing else. The running server
has the same as an OpenAPI document at `/api/openapi.json`. Every failure is
`{"error": "one sentence"}` with the status 400 (makes no sense), 401 (token), 403 (not
allowed), 404 (not there), 409 (not now), 413 (too large), 421 (another host's name),
422 (wrong type), 429 (too often), 507 (disk full), or 500 for a mistake of the server,
which then prints more.

This page is written by `python -m infer.ui.document`.
"""
OPTIONS = """### JobOptions

The options of the command line that concern one file, by their names with `_` for `-`:
`sdvsr --help` explains them, and `/api/openapi.json` has their types and defaults.
"""
LIVE = """
## live

### `WebSocket /api/live`
"""


def main() -> None:
    """Print the page."""
    print("\n".join(page()))


def page() -> Iterator[str]:
    """Yields the lines of the page."""
    # a server makes folders for its data
    with tempfile.TemporaryDirectory() as folder:
        app = build_app(Settings(folder=folder))
        document = app.openapi()
    yield HEAD
    group = ""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation["tags"][0]
            if tag != group:
                group = tag
                yield f"## {group}\n"
            yield from _operation(method, path, operation)
    yield LIVE
    yield _live_text() + "\n"
    yield "## Types\n"
    for name, schema in document["components"]["schemas"].items():
        if name == "JobOptions":
            yield OPTIONS
        elif "properties" in schema and not name.startswith("HTTP"):
            yield from _type(name, schema)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`\n"
    yield f"{operation['description']}\n"
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        words = schema.get("description", "")
        name = parameter["name"]
        place = parameter["in"]
        kind = _kind(schema)
        line = f"- `{name}` ({place}, {kind})"
        yield f"{line}: {words}" if words else line
    body = operation.get("requestBody")
    if body:
        for media, content in body["content"].items():
            kind = _kind(content["schema"])
            yield f"- body: {kind}, `{media}`"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            yield f"- {status}: {_answer(answer)}"
    yield ""


def _answer(answer: dict[str, Any]) -> str:
    kinds = []
    for media, content in answer.get("content", {}).items():
        schema = content.get("schema")
        kind = _kind(schema) if schema else f"`{media}`"
        kinds.append(kind)
    return " or ".join(kinds) or answer["description"]


def _type(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if "description" in schema:
        yield f"{schema['description']}\n"
    for field, rule in schema["properties"].items():
        words = rule.get("description", "")
        kind = _kind(rule)
        line = f"- `{field}`: {kind}"
        yield f"{line}. {words}" if words else line
    yield ""


def _kind(schema: dict[str, Any]) -> str:
    """Returns a type in words."""
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        anchor = name.lower()
        return f"[{name}](#{anchor})"
    if "anyOf" in schema:
        kinds = [_kind(part) for part in schema["anyOf"]]
        return " or ".join(kinds)
    if "enum" in schema:
        values = [f"`{value}`" for value in schema["enum"]]
        return ", ".join(values)
    if "const" in schema:
        value = schema["const"]
        return f"`{value}`"
    if schema.get("type") == "array":
        kind = _kind(schema["items"])
        return f"list of {kind}"
    return schema.get("type") or schema.get("format") or "anything"


def _live_text() -> str:
    from infer.ui import live

    text = live.__doc__ or ""
    _, body = text.split("\n\n", 1)
    return body.strip()


if __name__ == "__main__":
    sys.exit(main())
