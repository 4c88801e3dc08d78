"""Many streams on one device: each has the bytes of a session of its own, they come and
go, and the failure of one is its own.
"""

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clips import ROOT, clip_of, scenes
from prometheus_client.parser import text_string_to_metric_families
from streams import UDP_IN, Sender, free_port, numbers_in

from infer.__main__ import main
from infer.command.streams_file import read_streams


def table(name: str, source: object, output: object, **values: object) -> str:
    pairs = {"name": name, "source": str(source), "output": str(output), **values}
    lines = [f"{key} = {json.dumps(value)}" for key, value in pairs.items()]
    return "\n".join(["[[stream]]", *lines, ""])


def write(path: Path, *tables: str, **shared: object) -> Path:
    head = {"listen": "127.0.0.1:0", **shared}
    lines = [f"{key} = {json.dumps(value)}" for key, value in head.items()]
    path.write_text("\n".join([*lines, *tables]), "utf-8")
    return path


def test_each_stream_has_the_bytes_of_its_own_session(
    upscale, tmp_path, tiny_model, capsys
):
    clips = {name: scenes(*lengths) for name, lengths in LENGTHS.items()}
    sources = {name: clip_of(tmp_path / f"{name}.mkv", c) for name, c in clips.items()}
    tables = []
    for name, source in sources.items():
        folder = tmp_path / name
        folder.mkdir()
        degrees = {"seed": len(name)}
        words = ("--video", source, "-o", folder / "x.ts", "--seed", len(name))
        assert upscale(*words)[0] == 0
        output = tmp_path / f"{name}.ts"
        tables.append(table(name, source, output, model=tiny_model, **degrees))
    file = write(tmp_path / "s.toml", *tables, limit=1000.0)
    status = main(["serve", str(file), "--once"])
    told = capsys.readouterr().err
    assert status == 0, told
    for name in sources:
        shared = (tmp_path / f"{name}.ts").read_bytes()
        assert shared == (tmp_path / name / "x.ts").read_bytes()
        assert f"{name}: done" in told
    # one program for all of them
    assert told.count("model    ") == 1


LENGTHS = {"a": (7, 5), "bb": (9,), "ccc": (1, 2, 3)}


def test_a_stream_that_does_not_fit_is_refused_with_what_would(
    tmp_path, tiny_model, capsys
):
    source = clip_of(tmp_path / "in.mkv", scenes(3))
    words = {"model": tiny_model, "rate": 1000}
    one = table("one", source, tmp_path / "1.ts", **words)
    other = table("other", source, tmp_path / "2.ts", model=tiny_model, rate=1e-6)
    file = write(tmp_path / "s.toml", one, other, limit=1e-5)
    assert main(["serve", str(file), "--once"]) == 1
    told = capsys.readouterr().err
    assert "one: refused  does not fit: 1000 frames/s would take" in told
    assert "frames/s fit" in told
    assert not (tmp_path / "1.ts").exists()
    assert (tmp_path / "2.ts").exists()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("[[stream", "no TOML"),
        ("listening = 1", "unknown key 'listening', expected listen"),
        ("listen = 'here'", "expected HOST:PORT"),
        ("limit = 0", "expected more than 0"),
        ("limit = true", "limit = True: expected int or float"),
        ("stream = [1]", r"each begun by [[stream]]"),
        ("[[stream]]\nname = 'a'", "stream 1: source is missing"),
        ("A\nscale = 7", "a: scale = 7, expected one of 2, 3, 4"),
        ("A\ncrf = 'x'", "crf = 'x': expected int"),
        ("A\nsize = '1'", "a: --size 1: expected WIDTHxHEIGHT"),
        ("A\nrate = -1", "a: rate = -1"),
        ("A\nsegment = 1", "stream 1: unknown key 'segment'"),
        ("A\nA", "two streams with 'a': their names must differ"),
    ],
)
def test_what_is_wrong_in_the_file_is_told(text, answer, tmp_path, capsys):
    stream = "[[stream]]\nname = 'a'\nsource = 'in.mkv'\noutput = 'out.ts'"
    file = tmp_path / "s.toml"
    file.write_text(text.replace("A", stream), "utf-8")
    assert main(["serve", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert answer in line
    assert str(file) in line


def test_options_are_those_of_the_command(tmp_path):
    words = {"size": "64x48", "live": "skip-similar", "timeout": 3, "rate": 12.5}
    one = table("a", "udp://127.0.0.1:1", "out.ts", **words)
    content = read_streams(str(write(tmp_path / "s.toml", one, device="cpu")))
    (wish,) = content.wishes
    assert wish.options.video == ("udp://127.0.0.1:1",)
    assert (wish.options.size, wish.options.live) == ("64x48", "skip-similar")
    assert (wish.options.device, wish.rate) == ("cpu", 12.5)


class Served:
    """A server in its process, and what it answers."""

    def __init__(self, process: "subprocess.Popen[str]", told: Path) -> None:
        self.process = process
        self._told = told

    @property
    def told(self) -> str:
        return self._told.read_text("utf-8")

    def ask(self, path: str) -> str:
        lines = wait_for(
            lambda: [word for word in self.told.split() if word.endswith("/metrics")]
        )
        url = lines[0].removesuffix("/metrics") + path
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    def states(self) -> dict[str, str]:
        streams = json.loads(self.ask("/healthz"))["streams"]
        return {name: facts["state"] for name, facts in streams.items()}

    def numbers(self, name: str) -> dict[str, float]:
        families = text_string_to_metric_families(self.ask("/metrics"))
        samples = [sample for family in families for sample in family.samples]
        return {s.labels.get("stream", ""): s.value for s in samples if s.name == name}


def wait_for(look: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = look()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture
def serve(tmp_path: Path, command: Callable[..., list[str]]) -> Any:
    """Starts a server of a file as a user does."""

    @contextmanager
    def start(file: Path) -> Iterator[Served]:
        told = tmp_path / "told.txt"
        words = [*command()[:-2], "serve", str(file)]
        with told.open("w") as log:
            process = subprocess.Popen(words, cwd=ROOT, stderr=log, text=True)
            try:
                yield Served(process, told)
            finally:
                process.kill()
                process.wait()

    return start


@pytest.mark.heavy(60)
@pytest.mark.timeout(400)
def test_streams_join_and_leave_beside_a_dead_source(serve, tmp_path, tiny_model):
    ports = [free_port() for _ in range(3)]
    urls = [f"udp://127.0.0.1:{port}" for port in ports]
    how = {"model": tiny_model, "codec": "libx264", "rate": 1}
    tables = [
        table(name, f"{url}?{UDP_IN}", tmp_path / f"{name}.ts", **how)
        for name, url in zip("abc", urls)
    ]
    dead = f"udp://127.0.0.1:{free_port()}"
    tables.append(table("dead", dead, tmp_path / "dead.ts", timeout=1, reconnect=0))
    file = write(tmp_path / "s.toml", tables[0], tables[3], limit=1000.0)
    with (
        serve(file) as served,
        Sender(urls[0], 10),
        Sender(urls[1], 10),
        Sender(urls[2], 10),
    ):
        wait_for(lambda: served.states() == {"a": "runs", "dead": "failed"})
        # a joins no other, and others come and go
        write(file, tables[0], tables[1], tables[2], limit=1000.0)
        wait_for(lambda: served.states() == dict.fromkeys("abc", "runs"))
        frames = "sdvsr_stream_frames_total"
        wait_for(lambda: min(served.numbers(frames).values()) > 10)
        file.write_text("[[stream")
        wait_for(lambda: "no TOML" in served.told)
        write(file, tables[0], tables[2], limit=1000.0)
        wait_for(lambda: served.states() == dict.fromkeys("ac", "runs"))
        ended = numbers_in(str(tmp_path / "b.ts"))
        before = served.numbers(frames)["a"]
        wait_for(lambda: served.numbers(frames)["a"] > before + 10)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0, served.told
        assert "drained" in served.told
    assert served.told.count("model    ") == 1
    assert len(ended) > 10
    for name in "abc":
        seen = [number for number, _ in numbers_in(str(tmp_path / f"{name}.ts"))]
        assert len(seen) > 10
        assert seen == sorted(seen)
