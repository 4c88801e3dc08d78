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


def toml(values: dict[str, object]) -> list[str]:
    """Lines of TOML; JSON writes words and numbers in the same way."""
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]


def table(name: str, source: object, output: object, **values: object) -> str:
    addresses = {"source": str(source), "output": str(output)}
    lines = toml({"name": name, **addresses, **values})
    return "\n".join(["[[stream]]", *lines, ""])


def write(path: Path, *tables: str, **shared: object) -> Path:
    # Port 0: the system chooses a free one, and the server says which.
    lines = toml({"listen": "127.0.0.1:0", **shared})
    text = "\n".join([*lines, *tables])
    path.write_text(text, "utf-8")
    return path


PLENTY = 1000.0
"""Seconds of work a second that a device may have: more than any test asks for."""
LENGTHS = {"a": (7, 5), "bb": (9,), "ccc": (1, 2, 3)}
"""Lengths of the scenes of each stream, in frames."""
FRAMES = "sdvsr_stream_frames_total"
OUTAGES = "sdvsr_stream_outages_total"


def test_each_stream_has_the_bytes_of_its_own_session(
    upscale, tmp_path, tiny_model, capsys
):
    tables = []
    for name, lengths in LENGTHS.items():
        source = clip_of(tmp_path / f"{name}.mkv", scenes(*lengths))
        folder = tmp_path / name
        folder.mkdir()
        single = folder / "x.ts"
        # each has another
        seed = len(name)
        status, stderr = upscale("--video", source, "-o", single, "--seed", seed)
        assert status == 0, stderr
        output = tmp_path / f"{name}.ts"
        stream = table(name, source, output, model=tiny_model, seed=seed)
        tables.append(stream)
    file = write(tmp_path / "s.toml", *tables, limit=PLENTY)
    status = main(["serve", str(file), "--once"])
    stderr = capsys.readouterr().err
    assert status == 0, stderr
    for name in LENGTHS:
        shared = tmp_path / f"{name}.ts"
        single = tmp_path / name / "x.ts"
        assert shared.read_bytes() == single.read_bytes()
        assert f"{name}: done" in stderr
    # one program for all of them
    assert stderr.count("model    ") == 1


def test_a_stream_that_does_not_fit_is_refused_with_what_would(
    tmp_path, tiny_model, capsys
):
    source = clip_of(tmp_path / "in.mkv", scenes(3))
    large = tmp_path / "1.ts"
    small = tmp_path / "2.ts"
    one = table("one", source, large, model=tiny_model, rate=1000)
    # A frame in eleven days fits into any limit.
    other = table("other", source, small, model=tiny_model, rate=1e-6)
    file = write(tmp_path / "s.toml", one, other, limit=1e-5)
    status = main(["serve", str(file), "--once"])
    assert status == 1
    stderr = capsys.readouterr().err
    assert "one: refused  does not fit: 1000 frames/s would take" in stderr
    assert "frames/s fit" in stderr
    assert not large.exists()
    assert small.exists()


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
    file = write(tmp_path / "s.toml", one, device="cpu")
    content = read_streams(str(file))
    (wish,) = content.wishes
    assert wish.options.video == ("udp://127.0.0.1:1",)
    assert wish.options.size == "64x48"
    assert wish.options.live == "skip-similar"
    assert wish.options.device == "cpu"
    assert wish.rate == 12.5


class Served:
    """A server in its process, with its messages and answers."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def stderr(self) -> str:
        """Its messages so far."""
        return self._log.read_text("utf-8")

    def addresses(self) -> list[str]:
        """Where it says that its numbers are."""
        words = self.stderr.split()
        return [word for word in words if word.endswith("/metrics")]

    def ask(self, path: str) -> str:
        address, *_ = wait_for(self.addresses)
        url = address.removesuffix("/metrics") + path
        # It answers from memory; ten seconds are for a machine that compiles.
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    def states(self) -> dict[str, str]:
        answer = json.loads(self.ask("/healthz"))
        streams = answer["streams"]
        return {name: facts["state"] for name, facts in streams.items()}

    def numbers(self, name: str) -> dict[str, float]:
        """Of one name, by stream or device."""
        values = {}
        text = self.ask("/metrics")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name != name:
                    continue
                device = sample.labels.get("device", "")
                owner = sample.labels.get("stream", device)
                values[owner] = sample.value
        return values

    def wait_for_states(self, states: dict[str, str], seconds: float = 120) -> None:
        wait_for(lambda: self.states() == states, seconds)

    def wait_for_frames(self, count: int, seconds: float = 120) -> None:
        """Waits until every stream has more frames than that."""
        wait_for(lambda: min(self.numbers(FRAMES).values()) > count, seconds)

    def wait_for_workers(self, count: int) -> None:
        """Waits until so many have begun, the dead ones counted."""
        wait_for(lambda: self.stderr.count("begin    worker") == count, 200)

    def end(self) -> None:
        """Ends it as an administrator does; it has a minute to drain its streams."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.stderr


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
        messages = tmp_path / "stderr.txt"
        # `serve` takes its models from the file, and no --model
        program = command()[:-2]
        words = [*program, "serve", str(file)]
        mark = os.environ | {MARK: str(os.getpid())}
        with messages.open("w") as log:
            process = subprocess.Popen(words, cwd=ROOT, stderr=log, text=True, env=mark)
            try:
                yield Served(process, messages)
            finally:
                process.kill()
                process.wait()

    return start


@pytest.mark.heavy(60)
@pytest.mark.timeout(400)
def test_streams_join_and_leave_beside_a_dead_source(serve, tmp_path, tiny_model):
    ports = [free_port() for _ in range(3)]
    urls = [f"udp://127.0.0.1:{port}" for port in ports]
    # A frame a second is promised for each, so that all fit on any machine.
    how = {"model": tiny_model, "codec": "libx264", "rate": 1}
    tables = [
        table(name, f"{url}?{UDP_IN}", tmp_path / f"{name}.ts", **how)
        for name, url in zip("abc", urls)
    ]
    a, b, c = tables
    address = f"udp://127.0.0.1:{free_port()}"
    dead = table("dead", address, tmp_path / "dead.ts", timeout=1, reconnect=0)
    file = write(tmp_path / "s.toml", a, dead, limit=PLENTY)
    with (
        serve(file) as served,
        Sender(urls[0], 10),
        Sender(urls[1], 10),
        Sender(urls[2], 10),
    ):
        served.wait_for_states({"a": "runs", "dead": "failed"})
        # a joins no other, and others come and go
        write(file, a, b, c, limit=PLENTY)
        served.wait_for_states(dict.fromkeys("abc", "runs"))
        # a second of each
        served.wait_for_frames(10)
        file.write_text("[[stream")
        wait_for(lambda: "no TOML" in served.stderr)
        write(file, a, c, limit=PLENTY)
        served.wait_for_states(dict.fromkeys("ac", "runs"))
        recording = numbers_in(str(tmp_path / "b.ts"))
        before = served.numbers(FRAMES)["a"]
        wait_for(lambda: served.numbers(FRAMES)["a"] > before + 10)
        served.end()
        assert "drained" in served.stderr
    assert served.stderr.count("model    ") == 1
    assert len(recording) > 10
    for name in "abc":
        frames = numbers_in(str(tmp_path / f"{name}.ts"))
        numbers = [number for number, _ in frames]
        assert len(numbers) > 10
        assert numbers == sorted(numbers)


@pytest.mark.heavy(120)
@pytest.mark.timeout(500)
def test_streams_on_several_devices_have_the_bytes_of_their_own_sessions(
    upscale, serve, tmp_path, tiny_model
):
    pytest.importorskip("ray")
    tables = []
    for name, lengths in LENGTHS.items():
        source = clip_of(tmp_path / f"{name}.mkv", scenes(*lengths))
        folder = tmp_path / name
        folder.mkdir()
        status, stderr = upscale("--video", source, "-o", folder / "x.ts")
        assert status == 0, stderr
        output = tmp_path / f"{name}.ts"
        stream = table(name, source, output, model=tiny_model)
        tables.append(stream)
    absent = table("none", tmp_path / "no.mkv", tmp_path / "no.ts")
    tables.append(absent)
    file = write(tmp_path / "s.toml", *tables, limit=PLENTY, workers=2, device="cpu")
    with serve(file) as served:
        states = dict.fromkeys(LENGTHS, "ended") | {"none": "failed"}
        # each worker imports JAX and compiles for itself
        served.wait_for_states(states, 300)
        loads = served.numbers("sdvsr_device_load")
        served.end()
    assert loads.keys() == {"worker 1", "worker 2"}
    assert "a: is given to worker" in served.stderr
    assert "no.mkv: no such file or stream" in served.stderr
    for name in LENGTHS:
        shared = tmp_path / f"{name}.ts"
        single = tmp_path / name / "x.ts"
        assert shared.read_bytes() == single.read_bytes()


FPS = 3
"""Few, so that many streams run in time beside each other on a busy machine."""


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
        tables = self._tables.values()
        return write(file, *tables, limit=PLENTY, workers=2, device="cpu")

    def parts(self, name: str) -> list[list[int]]:
        """Numbers of the frames in each output of a stream."""
        first = self._folder / f"{name}.ts"
        later = self._folder.glob(f"{name}.*.ts")
        parts = []
        for path in (first, *later):
            if path.exists():
                frames = numbers_in(str(path))
                parts.append([number for number, _ in frames])
        return parts


def check_rise(numbers: list[int]) -> None:
    """There are some, and they go up; pictures tell their number modulo 1024."""
    assert numbers
    turn = 2**BITS
    for number, later in itertools.pairwise(numbers):
        step = (later - number) % turn
        # more than half a turn is a step back
        assert 0 < step < turn / 2, numbers


def kill_a_device() -> None:
    """Kills the first worker of the server that this test has started."""
    station, *_ = actors(os.getpid(), "Station")
    os.kill(station, signal.SIGKILL)


@pytest.mark.heavy(180)
@pytest.mark.timeout(500)
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a process is killed")
def test_streams_of_a_dead_device_go_on_at_another(serve, tmp_path, tiny_model):
    pytest.importorskip("ray")
    names = "abcd"
    with ExitStack() as stack:
        crowd = Crowd(tmp_path, tiny_model, stack)
        crowd.add(*names)
        file = crowd.save()
        served = stack.enter_context(serve(file))
        served.wait_for_states(dict.fromkeys(names, "runs"), 300)
        wait_for(lambda: len(served.numbers(FRAMES)) == 4, 60)
        served.wait_for_frames(10, 200)
        kill_a_device()
        start_time = time.monotonic()
        # the streams of one of two devices
        wait_for(lambda: sum(served.numbers(OUTAGES).values()) == 2, 200)
        seconds = time.monotonic() - start_time
        outages = served.numbers(OUTAGES)
        losses = served.numbers("sdvsr_stream_outage_frames_total")
        # the other device takes no more, and a new one begins
        served.wait_for_workers(3)
        served.end()
    assert "is gone; its streams begin elsewhere: " in served.stderr
    for name in names:
        parts = crowd.parts(name)
        for part in parts:
            check_rise(part)
        if not outages[name]:
            assert len(parts) == 1
            assert losses[name] == 0
            continue
        before, after = parts
        # The first new frame waits until the model is ready, and those behind it are
        # dropped. The dead process had frames that it had not said or not written.
        first_after = after[:4]
        between = range(before[-1] + 1, first_after[-1])
        num_absent = len(set(between) - set(first_after))
        assert abs(num_absent - losses[name]) <= 2 * FPS
        # two seconds more: the numbers are asked again and again, not at the moment
        assert 0 < losses[name] <= (seconds + 2) * FPS


SOAK = 60 * float(os.environ.get("SOAK_MINUTES", 1))
"""Seconds; the first streams must run before it begins."""


def rest(served: Served, states: dict[str, str]) -> None:
    """Waits for these states, and then some time, in which nothing but the numbers of
    frames may change.
    """
    served.wait_for_states(states)
    before = served.numbers(FRAMES)
    # there are five of these in a test
    deadline = time.monotonic() + SOAK / 5
    while time.monotonic() < deadline:
        time.sleep(1)
        assert served.states() == states, served.stderr
    after = served.numbers(FRAMES)
    for name in before.keys() & after.keys():
        has_moved = after[name] != before[name]
        assert has_moved == (states[name] == "runs"), name


@pytest.mark.nightly
# Its waits for workers, 300 and 200 seconds, may all be needed.
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
        file = crowd.save()
        served = stack.enter_context(serve(file))
        states = dict.fromkeys([*"abcde", "mortal"], "runs")
        states["never"] = "failed"
        served.wait_for_states(states, 300)
        rest(served, states)
        crowd.add(*"gh")
        crowd.save()
        states |= dict.fromkeys("gh", "runs")
        rest(served, states)
        kill_a_device()
        served.wait_for_workers(3)
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
        outages = served.numbers(OUTAGES)
        served.end()
    # Half of eight streams but for those that have gone since.
    assert sum(outages.values()) >= 2
    # A program for each process, whoever joins.
    assert served.stderr.count("model    ") <= 3
    for name in [*"acdegh", "late"]:
        parts = crowd.parts(name)
        assert len(parts) == 1 + outages[name]
        for part in parts:
            check_rise(part)
    assert crowd.parts("never") == []
