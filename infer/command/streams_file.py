"""The file of `python -m infer serve`: which streams there are, as TOML.

listen = "127.0.0.1:9464"

[[stream]]
name = "door"
source = "udp://0.0.0.0:5000"
output = "udp://10.0.0.7:5001"
size = "1280x720"
"""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from infer.options import Options, check, check_crew, is_shared
from infer.sources.inbox import Overflow

LISTEN = "127.0.0.1:9464"
LIMIT = 0.9
"""Of the device's time that streams get: the rest is for what nobody expects."""
CREW = ("cluster", "workers", "gpu_share")
SHARED = ("listen", "limit", "device", "threads", *CREW, "stream")
REQUIRED = ("name", "source", "output")
NUMBER = (int, float)
TYPES: dict[str, Any] = {
    "rate": NUMBER,
    "model": str,
    "size": str,
    "scale": int,
    "seed": int,
    "restore": str,
    "precision": str,
    "steps": int,
    "tile": str,
    "live": str,
    "stream": int,
    "start": int,
    "frames": int,
    "deinterlace": bool,
    "codec": str,
    "crf": int,
    "preset": str,
    "overwrite": bool,
    "timeout": NUMBER,
    "reconnect": NUMBER,
}
"""Keys of a stream beside those it must have, as the command's options are called."""
CHOICES = {
    "scale": (2, 3, 4),
    "precision": ("float32", "bfloat16", "float16"),
    "live": get_args(Overflow),
}


@dataclass(frozen=True)
class Wish:
    """A stream that is wanted; rate: frames/s to be let in for, None as the source
    says.
    """

    name: str
    options: Options
    rate: float | None = None

    @property
    def source(self) -> str:
        """Where it comes from."""
        return self.options.video[0]


@dataclass(frozen=True)
class StreamsFile:
    """All that the file says. listen: host and port of the numbers. crew: how several
    devices are found; None where there is one, that of this process.
    """

    wishes: tuple[Wish, ...]
    listen: tuple[str, int]
    limit: float
    crew: Options | None = None


def read_streams(path: str) -> StreamsFile:
    """Reads the file; ValueError names the fault and its place."""
    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no TOML ({error})") from None
    try:
        return _streams_of(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _streams_of(content: dict[str, Any]) -> StreamsFile:
    _require_known(content, SHARED, "the file")
    limit = _value(content, "limit", NUMBER, LIMIT)
    if not limit > 0:
        raise ValueError(f"limit = {limit}: expected more than 0, such as {LIMIT}")
    common = Options(
        device=_value(content, "device", str, "auto"),
        threads=_value(content, "threads", int, None),
    )
    crew = replace(
        common,
        cluster=_value(content, "cluster", str, None),
        workers=_value(content, "workers", int, None),
        gpu_share=float(_value(content, "gpu_share", NUMBER, 1.0)),
    )
    check_crew(crew)
    tables = _value(content, "stream", list, [])
    for table in tables:
        if not isinstance(table, dict):
            raise ValueError("stream: expected tables, each begun by [[stream]]")
    wishes = []
    for number, table in enumerate(tables, 1):
        wishes.append(_wish(table, number, common))
    names = [wish.name for wish in wishes]
    outputs = [str(wish.options.output) for wish in wishes]
    _require_distinct(names, "names")
    _require_distinct(outputs, "outputs")
    address = _value(content, "listen", str, LISTEN)
    listen = _address(address)
    several = crew if is_shared(crew) else None
    return StreamsFile(tuple(wishes), listen, float(limit), several)


def _wish(table: dict[str, Any], number: int, common: Options) -> Wish:
    place = f"stream {number}"
    _require_known(table, (*REQUIRED, *TYPES), place)
    for key in REQUIRED:
        if not _value(table, key, str, ""):
            raise ValueError(f"{place}: {key} is missing")
    name = table["name"]
    values: dict[str, Any] = {}
    for key, kind in TYPES.items():
        value = _value(table, key, kind, None)
        if value is None:
            continue
        choices = CHOICES.get(key)
        if choices is not None and value not in choices:
            words = ", ".join(map(str, choices))
            raise ValueError(f"{name}: {key} = {value!r}, expected one of {words}")
        values[key] = value
    rate = values.pop("rate", None)
    if rate is not None and not rate > 0:
        raise ValueError(f"{name}: rate = {rate}, expected frames/s, more than 0")
    video = (table["source"],)
    options = replace(common, video=video, output=table["output"], **values)
    try:
        check(options)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Wish(name, options, rate)


def _require_known(table: dict[str, Any], keys: tuple[str, ...], place: str) -> None:
    unknown = sorted(table.keys() - {*keys})
    if unknown:
        names = ", ".join(keys)
        raise ValueError(f"{place}: unknown key {unknown[0]!r}, expected {names}")


def _require_distinct(values: list[str], kind: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"two streams with {value!r}: their {kind} must differ")


def _value(table: dict[str, Any], key: str, kind: Any, default: Any) -> Any:
    value = table.get(key, default)
    # True is an int to Python.
    is_bool = isinstance(value, bool)
    is_right = isinstance(value, kind) and (kind is bool or not is_bool)
    if key in table and not is_right:
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(one.__name__ for one in kinds)
        raise ValueError(f"{key} = {value!r}: expected {names}")
    return value


def _address(text: str) -> tuple[str, int]:
    host, mark, port = text.rpartition(":")
    is_port = port.isdecimal() and int(port) <= 65535
    if not (mark and host and is_port):
        raise ValueError(f"listen = {text!r}: expected HOST:PORT, such as {LISTEN}")
    # An IPv6 address has brackets in front of the port, and none for a socket.
    return host.strip("[]"), int(port)
