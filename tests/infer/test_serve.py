"""Many streams on one device: each has the bytes of a session of its own, they come and
go, and the failure of one is its own.
"""

import itertools
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from clips import ROOT, clip_of, scenes
from prometheus_client.parser import text_string_to_metric_families
from rays import MARK, actors
from streams import BITS, UDP_IN, Sender, free_port, numbers_in

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
        status, stderr = upscale(*words)
        assert status == 0, stderr
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
    status = main(["serve", str(file), "--once"])
    assert status == 1
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
    status = main(["serve", str(file)])
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert answer in line
    assert str(file) in line


def test_options_are_those_of_the_command(tmp_path):
    words = {"size": "64x48", "live": "skip-similar", "timeout": 3, "rate": 12.5}
    one = table("a", "udp://127.0.0.1:1", "out.ts", **words)
    content = read_streams(str(write(tmp_path / "s.toml", one, device="cpu")))
    (wish,) = content.wishes
    assert wish.options.video == ("udp://127.0.0.1:1",)
    assert wish.options.size == "64x48"
    assert wish.options.live == "skip-similar"
    assert wish.options.device == "cpu"
    assert wish.rate == 12.5


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
        """Of one name, by stream or device."""
        families = text_string_to_metric_families(self.ask("/metrics"))
        samples = [sample for family in families for sample in family.samples]
        return {
            s.labels.get("stream", s.labels.get("device", "")): s.value
            for s in samples
            if s.name == name
        }


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
        mark = os.environ | {MARK: str(os.getpid())}
        with told.open("w") as log:
            process = subprocess.Popen(words, cwd=ROOT, stderr=log, text=True, env=mark)
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


@pytest.mark.heavy(120)
@pytest.mark.timeout(500)
def test_streams_on_several_devices_have_the_bytes_of_their_own_sessions(
    upscale, serve, tmp_path, tiny_model
):
    pytest.importorskip("ray")
    tables = []
    for name, lengths in LENGTHS.items():
        source = clip_of(tmp_path / f"{name}.mkv", scenes(*lengths))
        (tmp_path / name).mkdir()
        status, stderr = upscale("--video", source, "-o", tmp_path / name / "x.ts")
        assert status == 0, stderr
        tables.append(table(name, source, tmp_path / f"{name}.ts", model=tiny_model))
    tables.append(table("none", tmp_path / "no.mkv", tmp_path / "no.ts"))
    file = write(tmp_path / "s.toml", *tables, limit=1000.0, workers=2, device="cpu")
    with serve(file) as served:
        states = dict.fromkeys(LENGTHS, "ended") | {"none": "failed"}
        wait_for(lambda: served.states() == states, 300)
        loads = served.numbers("sdvsr_device_load")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0, served.told
    assert loads.keys() == {"worker 1", "worker 2"}
    assert "a: is given to worker" in served.told
    assert "no.mkv: no such file or stream" in served.told
    for name in LENGTHS:
        shared = (tmp_path / f"{name}.ts").read_bytes()
        assert shared == (tmp_path / name / "x.ts").read_bytes()


FPS = 3


class Crowd:
    """Tiny streams over loopback, some of which are in the file of the server."""

    def __init__(self, folder: Path, model: str, stack: ExitStack) -> None:
        self._folder = folder
        self._how = {"model": model, "codec": "libx264", "rate": FPS, "timeout": 5}
        self._stack = stack
        self._tables: dict[str, str] = {}
        self.senders: dict[str, Sender] = {}

    def add(self, *names: str, **values: object) -> None:
        for name in names:
            url = f"udp://127.0.0.1:{free_port()}"
            output = self._folder / f"{name}.ts"
            how = {**self._how, **values}
            self._tables[name] = table(name, f"{url}?{UDP_IN}", output, **how)
            self.senders[name] = self._stack.enter_context(Sender(url, FPS))

    def remove(self, name: str) -> None:
        del self._tables[name]

    def save(self) -> Path:
        file = self._folder / "s.toml"
        words = {"limit": 1000.0, "workers": 2, "device": "cpu"}
        return write(file, *self._tables.values(), **words)

    def parts(self, name: str) -> list[list[int]]:
        """Numbers of the frames in each output of a stream."""
        paths = [self._folder / f"{name}.ts", *self._folder.glob(f"{name}.*.ts")]
        present = [str(path) for path in paths if path.exists()]
        return [[number for number, _ in numbers_in(path)] for path in present]


def rises(numbers: list[int]) -> bool:
    """Whether these go up; pictures tell their number modulo 1024."""
    steps = [later - number for number, later in itertools.pairwise(numbers)]
    half = 2 ** (BITS - 1)
    return bool(numbers) and all(0 < step % (2 * half) < half for step in steps)


@pytest.mark.heavy(180)
@pytest.mark.timeout(500)
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a process is killed")
def test_streams_of_a_dead_device_go_on_at_another(serve, tmp_path, tiny_model):
    pytest.importorskip("ray")
    names = "abcd"
    frames = "sdvsr_stream_frames_total"
    outages = "sdvsr_stream_outages_total"
    with ExitStack() as stack:
        crowd = Crowd(tmp_path, tiny_model, stack)
        crowd.add(*names)
        served = stack.enter_context(serve(crowd.save()))
        wait_for(lambda: served.states() == dict.fromkeys(names, "runs"), 300)
        wait_for(lambda: len(served.numbers(frames)) == 4, 60)
        wait_for(lambda: min(served.numbers(frames).values()) > 10, 200)
        os.kill(actors(os.getpid(), "Station")[0], signal.SIGKILL)
        begun = time.monotonic()
        wait_for(lambda: sum(served.numbers(outages).values()) == 2, 200)
        seconds = time.monotonic() - begun
        moved = {name for name, value in served.numbers(outages).items() if value}
        lost = served.numbers("sdvsr_stream_outage_frames_total")
        # the other device takes no more, and a new one begins
        wait_for(lambda: served.told.count("begin    worker") == 3, 200)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0, served.told
    assert "is gone; its streams begin elsewhere: " in served.told
    for name in names:
        parts = crowd.parts(name)
        assert len(parts) == 1 + (name in moved)
        assert all(map(rises, parts)), parts
        if name not in moved:
            assert lost[name] == 0
            continue
        # The first new frame waits until the model is ready, and those behind it are
        # dropped. The dead process had frames that it had not said or not written.
        begun_again = parts[1][:4]
        between = range(parts[0][-1] + 1, begun_again[-1])
        missing = len(set(between) - set(begun_again))
        assert abs(missing - lost[name]) <= 2 * FPS
        assert 0 < lost[name] <= (seconds + 2) * FPS


SOAK = 60 * float(os.environ.get("SOAK_MINUTES", 1))
"""Seconds; the first streams must run before it begins."""


def rest(served: Served, states: dict[str, str]) -> None:
    """Waits for these states, and then some time, in which nothing but the numbers of
    frames may change.
    """
    frames = "sdvsr_stream_frames_total"
    wait_for(lambda: served.states() == states)
    before = served.numbers(frames)
    deadline = time.monotonic() + SOAK / 5
    while time.monotonic() < deadline:
        time.sleep(1)
        assert served.states() == states, served.told
    after = served.numbers(frames)
    for name in before.keys() & after.keys():
        assert (after[name] != before[name]) == (states[name] == "runs"), name


@pytest.mark.nightly
@pytest.mark.timeout(SOAK + 800)
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a process is killed")
def test_many_streams_go_on_and_on(serve, tmp_path, tiny_model):
    """Eight streams on two devices: some join and leave, a source dies, one is never
    there, a device is killed.

        SOAK_MINUTES=10 python -m pytest -m nightly tests/infer/test_serve.py
    """
    pytest.importorskip("ray")
    with ExitStack() as stack:
        crowd = Crowd(tmp_path, tiny_model, stack)
        crowd.add(*"abcde")
        crowd.add("mortal", "never", reconnect=0)
        crowd.senders["never"].stop.set()
        served = stack.enter_context(serve(crowd.save()))
        states = dict.fromkeys([*"abcde", "mortal"], "runs") | {"never": "failed"}
        wait_for(lambda: served.states() == states, 300)
        rest(served, states)
        crowd.add(*"gh")
        crowd.save()
        states |= dict.fromkeys("gh", "runs")
        rest(served, states)
        os.kill(actors(os.getpid(), "Station")[0], signal.SIGKILL)
        wait_for(lambda: served.told.count("begin    worker") == 3, 200)
        rest(served, states)
        crowd.senders["mortal"].stop.set()
        crowd.remove("b")
        crowd.save()
        del states["b"]
        states["mortal"] = "failed"
        rest(served, states)
        crowd.add("late")
        crowd.save()
        states["late"] = "runs"
        rest(served, states)
        outages = served.numbers("sdvsr_stream_outages_total")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0, served.told
    # Half of eight streams but for those that have gone since.
    assert sum(outages.values()) >= 2
    # A program for each process, whoever joins.
    assert served.told.count("model    ") <= 3
    for name in [*"acdegh", "late"]:
        parts = crowd.parts(name)
        assert len(parts) == 1 + outages[name]
        assert all(map(rises, parts)), parts
    assert crowd.parts("never") == []
