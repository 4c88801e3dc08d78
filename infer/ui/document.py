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
    with tempfile.TemporaryDirectory() as folder:
        app = build_app(Settings(folder=folder))
        document = app.openapi()
    yield HEAD
    group = ""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["tags"][0] != group:
                group = operation["tags"][0]
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
        words = parameter["schema"].get("description", "")
        kind = _kind(parameter["schema"])
        place = parameter["in"]
        yield f"- `{parameter['name']}` ({place}, {kind}){': ' if words else ''}{words}"
    body = operation.get("requestBody")
    if body:
        for media, content in body["content"].items():
            yield f"- body: {_kind(content['schema'])}, `{media}`"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            yield f"- {status}: {_answer(answer)}"
    yield ""


def _answer(answer: dict[str, Any]) -> str:
    kinds = []
    for media, content in answer.get("content", {}).items():
        schema = content.get("schema")
        kinds.append(_kind(schema) if schema else f"`{media}`")
    return " or ".join(kinds) or answer["description"]


def _type(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if "description" in schema:
        yield f"{schema['description']}\n"
    for field, rule in schema["properties"].items():
        words = rule.get("description", "")
        yield f"- `{field}`: {_kind(rule)}{'. ' if words else ''}{words}"
    yield ""


def _kind(schema: dict[str, Any]) -> str:
    """Returns a type in words."""
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return schema.get("type") or schema.get("format") or "anything"


def _live_text() -> str:
    from infer.ui import live

    return (live.__doc__ or "").split("\n\n", 1)[1].strip()


if __name__ == "__main__":
    sys.exit(main())
