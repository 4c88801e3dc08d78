"""Nobody gets in: no list opens a file outside its folder, whatever its format or its
way of writing a name.
"""

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infer.sources import opener
from tests.attack.conftest import Upscale
from tests.attack.outcome import first_picture, num_pictures, within
from tests.attack.recordings import record

SEGMENT_HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
END = "#EXT-X-ENDLIST\n"


def hls(*lines: str) -> str:
    """A playlist of HLS with these lines."""
    text = "".join(f"{line}\n" for line in lines)
    return SEGMENT_HEAD + text + END


def concat(*lines: str) -> str:
    """A list of FFmpeg's concat format with these lines."""
    text = "".join(f"{line}\n" for line in lines)
    return "ffconcat version 1.0\n" + text


OUTSIDE = "../outside/secret.ts"
LISTS = {
    "hls segment": ("l.m3u8", hls("#EXTINF:1,", OUTSIDE)),
    "hls absolute": ("l.m3u8", hls("#EXTINF:1,", "{outside}/secret.ts")),
    "hls file:": ("l.m3u8", hls("#EXTINF:1,", "file:{outside}/secret.ts")),
    "hls file://": ("l.m3u8", hls("#EXTINF:1,", "file://{outside}/secret.ts")),
    "hls FILE:": ("l.m3u8", hls("#EXTINF:1,", "FILE:{outside}/secret.ts")),
    "hls concat:": ("l.m3u8", hls("#EXTINF:1,", "concat:a.ts|{outside}/secret.ts")),
    "hls subfile": (
        "l.m3u8",
        hls("#EXTINF:1,", "subfile,,start,0,end,0,,:{outside}/secret.ts"),
    ),
    "hls crypto": ("l.m3u8", hls("#EXTINF:1,", "crypto:{outside}/secret.ts")),
    "hls crypto+file": (
        "l.m3u8",
        hls("#EXTINF:1,", "crypto+file:{outside}/secret.ts"),
    ),
    "hls async": ("l.m3u8", hls("#EXTINF:1,", "async:file:{outside}/secret.ts")),
    "hls cache": ("l.m3u8", hls("#EXTINF:1,", "cache:{outside}/secret.ts")),
    "hls link": ("l.m3u8", hls("#EXTINF:1,", "link.ts")),
    "hls linked folder": ("l.m3u8", hls("#EXTINF:1,", "folder/secret.ts")),
    "hls trailing space": ("l.m3u8", hls("#EXTINF:1,", f"{OUTSIDE} ")),
    "hls carriage return": ("l.m3u8", hls("#EXTINF:1,\r", f"{OUTSIDE}\r")),
    "hls map": ("l.m3u8", hls(f'#EXT-X-MAP:URI="{OUTSIDE}"', "#EXTINF:1,", "a.ts")),
    "hls bare map": ("l.m3u8", hls(f"#EXT-X-MAP:URI={OUTSIDE}", "#EXTINF:1,", "a.ts")),
    "hls key": (
        "l.m3u8",
        hls(f"#EXT-X-KEY:METHOD=AES-128,URI={OUTSIDE}", "#EXTINF:1,", "a.ts"),
    ),
    "hls variant": (
        "l.m3u8",
        hls("#EXT-X-STREAM-INF:BANDWIDTH=1", "../outside/v.m3u8"),
    ),
    "hls inner": ("l.m3u8", hls("#EXT-X-STREAM-INF:BANDWIDTH=1", "inner.m3u8")),
    "hls media": (
        "l.m3u8",
        hls(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="g",URI={OUTSIDE}',
            '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="g"',
            "good.m3u8",
        ),
    ),
    "hls without suffix": ("l", hls("#EXTINF:1,", OUTSIDE)),
    "hls as mp4": ("l.mp4", hls("#EXTINF:1,", OUTSIDE)),
    "concat": ("l.ffconcat", concat(f"file {OUTSIDE}")),
    "concat tab": ("l.ffconcat", concat("file\tlink.ts")),
    "concat quotes": ("l.ffconcat", concat(f"file '{OUTSIDE}'")),
    "concat escapes": ("l.ffconcat", concat(r"file ..\/outside/secret.ts")),
    "concat mixed": ("l.ffconcat", concat("file .'.'/outside/secret.ts")),
    "concat absolute": ("l.ffconcat", concat("file {outside}/secret.ts")),
    "concat second": ("l.ffconcat", concat("file a.ts", f"file {OUTSIDE}")),
    "concat file:": ("l.ffconcat", concat("file file:{outside}/secret.ts")),
    "concat link": ("l.ffconcat", concat("file link.ts")),
    "concat inner": ("l.ffconcat", concat("file inner.m3u8")),
    "concat unsafe": ("l.ffconcat", concat("option safe 0", f"file {OUTSIDE}")),
}


class Tripwire:
    """A pipe in the place of a secret, which notices that it is opened for reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._over = threading.Event()
        self.was_opened = False
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        # Often, because a reader that is refused holds a pipe open for a moment only.
        while not self._over.wait(0.002):
            try:
                handle = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads
                continue
            self.was_opened = True
            os.close(handle)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def place(tmp_path: Path, hostile) -> Path:
    """A folder for lists with all that they may name, beside the folder outside."""
    folder = tmp_path / "lists"
    shutil.copytree(hostile("lists"), folder)
    shutil.copytree(hostile("outside"), tmp_path / "outside")
    (tmp_path / "outside/v.m3u8").write_text(hls("#EXTINF:1,", "secret.ts"))
    (folder / "link.ts").symlink_to(Path(OUTSIDE))
    (folder / "folder").symlink_to("../outside")
    (folder / "inner.m3u8").write_text(hls("#EXTINF:1,", OUTSIDE))
    (folder / "good.m3u8").write_text(hls("#EXTINF:1,", "a.ts"))
    return folder


@contextmanager
def wired(place: Path) -> Iterator[list[Tripwire]]:
    """Every secret outside is a tripwire meanwhile."""
    outside = place.parent / "outside"
    wires = [Tripwire(outside / name) for name in ("secret.ts", "secret.mp4")]
    try:
        yield wires
    finally:
        for wire in wires:
            wire.close()


def check_shut(outcome, wires: list[Tripwire], place: Path, before: set[str]) -> None:
    """Refused as wrong use; nothing outside was opened and nothing is left."""
    for wire in wires:
        assert not wire.was_opened, outcome.text
    outcome.check_refused(status=2)
    assert set(os.listdir(place)) == before


def write_list(place: Path, kind: str) -> Path:
    name, text = LISTS[kind]
    path = place / name
    outside = str(place.parent / "outside")
    path.write_text(text.replace("{outside}", outside))
    return path


@pytest.mark.parametrize("kind", LISTS)
def test_no_list_opens_what_is_outside(refusal, place: Path, kind: str) -> None:
    path = write_list(place, kind)
    before = set(os.listdir(place))
    words = ("--video", path, "-o", place / "o.mkv")
    with wired(place) as wires:
        outcome = within(60, lambda: refusal(*words))
    check_shut(outcome, wires, place, before)


@pytest.mark.parametrize("text", [hls("#EXTINF:1,", "p.ts"), concat("file p.ts")])
def test_a_pipe_in_a_list_is_told_at_once(refusal, place: Path, text: str) -> None:
    """Nobody ever writes to it, and waiting for that would never end."""
    os.mkfifo(place / "p.ts")
    path = place / ("l.m3u8" if "EXTM3U" in text else "l.ffconcat")
    path.write_text(text)
    # Other doors of the folder would be told before the pipe.
    (place / "link.ts").unlink()
    (place / "folder").unlink()
    output = place / "o.mkv"
    outcome = within(60, lambda: refusal("--video", path, "-o", output))
    outcome.check_refused("p.ts", "no file")


def test_a_list_without_an_end_is_shut_in_time(
    refusal, place: Path, monkeypatch
) -> None:
    """FFmpeg would read it again and again, as slowly as the list says."""
    monkeypatch.setattr(opener, "LIST_PATIENCE", 2.0)
    path = place / "l.m3u8"
    head = SEGMENT_HEAD.replace("DURATION:1", "DURATION:9999")
    path.write_text(f"{head}#EXTINF:9999,\n{OUTSIDE}\n")
    before = set(os.listdir(place))
    with wired(place) as wires:
        output = place / "o.mkv"
        outcome = within(60, lambda: refusal("--video", path, "-o", output))
    check_shut(outcome, wires, place, before)


@pytest.mark.parametrize("kind", ["hls bare map", "hls link", "concat tab"])
def test_no_list_opens_what_is_outside_live(refusal, place: Path, kind: str) -> None:
    path = write_list(place, kind)
    before = set(os.listdir(place))
    words = ("--video", path, "-o", place / "o.ts")
    with wired(place) as wires:
        outcome = within(60, lambda: refusal(*words))
    check_shut(outcome, wires, place, before)


@pytest.mark.parametrize("name", ["map_unquoted.m3u8", "concat_tab.ffconcat"])
def test_the_reported_lists_are_shut(refusal, place: Path, name: str) -> None:
    before = set(os.listdir(place))
    with wired(place) as wires:
        output = place / "o.mkv"
        outcome = refusal("--video", place / name, "-o", output)
    check_shut(outcome, wires, place, before)


@pytest.mark.parametrize("text", [hls("#EXTINF:1,", "in.ts"), concat("file in.ts")])
def test_lists_of_their_own_folder_work(
    upscale: Upscale, tmp_path: Path, text: str
) -> None:
    source = tmp_path / "in.ts"
    record(source, "mpegts", "libx264", count=4)
    suffix = ".m3u8" if "EXT" in text else ".ffconcat"
    path = tmp_path / f"list{suffix}"
    path.write_text(text)
    output = tmp_path / "o.mkv"
    upscale("--video", path, "-o", output).check_done()
    assert first_picture(output).shape == (192, 256, 3)


def test_a_list_without_an_end_gives_what_it_has(
    upscale: Upscale, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(opener, "LIST_PATIENCE", 2.0)
    source = tmp_path / "in.ts"
    record(source, "mpegts", "libx264", count=4)
    path = tmp_path / "list.m3u8"
    path.write_text(SEGMENT_HEAD + "#EXTINF:1,\nin.ts\n")
    output = tmp_path / "o.mkv"
    outcome = within(60, lambda: upscale("--video", path, "-o", output))
    outcome.check_done()
    assert num_pictures(output) == 4


def test_a_list_that_is_trusted_reads_outside(upscale: Upscale, tmp_path: Path):
    (tmp_path / "lists").mkdir()
    source = tmp_path / "in.ts"
    record(source, "mpegts", "libx264", count=4)
    path = tmp_path / "lists/list.m3u8"
    path.write_text(hls("#EXTINF:1,", "../in.ts"))
    words = ("--video", path, "-o", tmp_path / "o.mkv")
    upscale(*words, "--trust-playlist").check_done()


def serve_once(body: bytes) -> tuple[str, threading.Thread]:
    """Serves ``body`` by HTTP to everybody for a while; returns its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    # More than the command's time-out of a second and its start.
    listener.settimeout(20)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
    kind = "Content-Type: application/vnd.apple.mpegurl\r\nConnection: close\r\n\r\n"

    def answer() -> None:
        deadline = time.monotonic() + 20
        with listener:
            while time.monotonic() < deadline:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    # The request of FFmpeg is shorter than that.
                    line.recv(4096)
                    line.sendall((head + kind).encode() + body)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/l.m3u8", thread


@pytest.mark.parametrize("name", ["{outside}/secret.ts", "file:{outside}/secret.ts"])
def test_a_list_from_the_network_reads_no_file(refusal, place: Path, name: str) -> None:
    target = name.replace("{outside}", str(place.parent / "outside"))
    address, _ = serve_once(hls("#EXTINF:1,", target).encode())
    limits = ("--timeout", "1", "--reconnect", "0")
    output = place / "o.ts"
    with wired(place) as wires:
        outcome = refusal("--video", address, "-o", output, *limits)
    for wire in wires:
        assert not wire.was_opened, outcome.text
    outcome.check_refused()
    assert not output.exists()
