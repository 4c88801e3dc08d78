"""/metrics and /healthz of the server of streams."""

import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from infer.errors import JobError
from infer.jobs.live_pool import STATES, DeviceFacts, StreamFacts

if TYPE_CHECKING:
    from infer.command.serve import Pool

TEXT = "text/plain; version=0.0.4; charset=utf-8"
COUNTERS = {
    "frames_in": "Frames that came from the source.",
    "frames": "Frames that left.",
    "dropped": "Frames dropped because newer ones were there.",
    "repeated": "Frames that got the picture before.",
    "reconnections": "Times that the source came back.",
}


Row = tuple[dict[str, str], float]
"""Labels and a value."""


class Family(NamedTuple):
    """Numbers of one name."""

    name: str
    kind: str
    help: str
    rows: list[Row]


class Numbers:
    """Answers in threads of its own, as a context manager. address: host and port that
    it got.
    """

    def __init__(self, pool: "Pool", address: tuple[str, int]) -> None:
        self._pool = pool
        self.is_draining = False
        host, port = address
        try:
            self._server = ThreadingHTTPServer(address, self._handler())
        except OSError as error:
            raise JobError(f"{host}:{port}: cannot listen there ({error})") from None
        # A request that takes long does not keep the server from ending.
        self._server.daemon_threads = True
        self.address = (host, self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="numbers", daemon=True
        )

    def __enter__(self) -> "Numbers":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def health(self) -> dict[str, Any]:
        """Whether streams are served, and how each is."""
        streams = {}
        for name, facts in self._pool.streams().items():
            streams[name] = {"state": facts.state, "reason": facts.reason}
        status = "draining" if self.is_draining else "ok"
        return {"status": status, "streams": streams}

    def metrics(self) -> str:
        """All numbers in Prometheus' text format."""
        streams = self._pool.streams()
        devices = self._pool.devices()
        families = [*_of_streams(streams), *_of_devices(devices)]
        return "".join(map(_text_of, families))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        numbers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, _ = self.path.partition("?")
                if path == "/metrics":
                    self._answer(200, TEXT, numbers.metrics())
                elif path == "/healthz":
                    status = 503 if numbers.is_draining else 200
                    text = json.dumps(numbers.health())
                    self._answer(status, "application/json", text)
                else:
                    self._answer(404, "text/plain", "expected /metrics or /healthz\n")

            def _answer(self, status: int, kind: str, text: str) -> None:
                content = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *values: object) -> None:
                """Nothing: a scraper asks every few seconds."""

        return Handler


def _of_streams(streams: dict[str, StreamFacts]) -> Iterator[Family]:
    states: list[Row] = []
    reports = []
    outages: list[Row] = []
    lost_frames: list[Row] = []
    for name, facts in streams.items():
        labels = {"stream": name}
        for state in STATES:
            is_current = facts.state == state
            labels_of_state = {**labels, "state": state}
            states.append((labels_of_state, float(is_current)))
        if facts.counters is not None:
            reports.append((labels, facts.counters))
        outages.append((labels, float(facts.outages)))
        lost_frames.append((labels, float(facts.lost)))
    yield Family("sdvsr_stream_state", "gauge", "1 for the state it is in.", states)
    for key, words in COUNTERS.items():
        rows = [(labels, float(report[key])) for labels, report in reports]
        yield Family(f"sdvsr_stream_{key}_total", "counter", words, rows)
    words = "Times that it was begun on another device, because its own was gone."
    yield Family("sdvsr_stream_outages_total", "counter", words, outages)
    words = "Frames that came meanwhile, and that nobody has seen."
    yield Family("sdvsr_stream_outage_frames_total", "counter", words, lost_frames)
    times = {"model": "From a frame's turn asked to its end.", "latency": "In all."}
    for key, words in times.items():
        rows = []
        for labels, report in reports:
            for point, milliseconds in report[f"{key}_ms"].items():
                # such as p50
                quantile = int(point[1:]) / 100
                labels_of_point = {**labels, "quantile": str(quantile)}
                rows.append((labels_of_point, milliseconds / 1000))
        yield Family(f"sdvsr_stream_{key}_seconds", "gauge", words, rows)


def _of_devices(devices: list[DeviceFacts]) -> Iterator[Family]:
    loads: list[Row] = []
    times: list[Row] = []
    for device in devices:
        # The only device of a process has no name.
        labels = {"device": device.name} if device.name else {}
        loads.append((labels, device.load))
        for model, size, seconds in device.pools:
            labels_of_pool = {**labels, "model": model, "size": size}
            times.append((labels_of_pool, seconds))
    words = "Share of the device's time that streams were let in for."
    yield Family("sdvsr_device_load", "gauge", words, loads)
    words = "Time of a frame, measured when the pool was made."
    yield Family("sdvsr_pool_frame_seconds", "gauge", words, times)


def _text_of(family: Family) -> str:
    name, kind, words, rows = family
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    for labels, value in rows:
        lines.append(f"{name}{_braces(labels)} {value:g}")
    return "\n".join(lines) + "\n"


def _braces(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = []
    for name, text in labels.items():
        value = _escaped(text)
        pairs.append(f'{name}="{value}"')
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    pairs: Iterable[tuple[str, str]] = (("\\", r"\\"), ('"', r"\""), ("\n", r"\n"))
    for character, escape in pairs:
        value = value.replace(character, escape)
    return value
