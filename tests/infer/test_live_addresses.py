"""Every kind of source and sink by its address: RTSP, HLS over HTTP, recordings; and
limits of every address.
"""

import functools
import http.server
import json
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.container import InputContainer
from clips import make_video
from rtsp_server import RTSPServer
from streams import BITS, numbers_in, record

from infer.__main__ import main
from infer.sources import network
from infer.sources.address import RawPictures, find_input, find_target, is_live


@pytest.fixture
def live(tiny_model, tmp_path):
    """Run the command in this process; returns its status and its report."""

    def call(*arguments: object) -> tuple[int, dict]:
        report = tmp_path / "report.json"
        status = main(
            [*map(str, arguments), "--model", tiny_model, "--report", str(report)]
        )
        return status, json.loads(report.read_text()) if report.exists() else {}

    return call


@pytest.fixture
def served(tmp_path):
    """(folder, its http address)."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    # Port 0: the system chooses a free one.
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_rtsp(live, tmp_path):
    output = tmp_path / "out.mkv"
    with RTSPServer() as server:
        status, report = live("--video", server.url, "-o", output, "--frames", 15)
    assert status == 0
    assert report["frames"] == 15
    assert report["policy"] == "drop"
    values = numbers_in(str(output))
    first = values[0][0]
    # Numbers begin anew after 1024 frames, and a busy machine misses many. Matroska
    # counts milliseconds.
    turn = 2**BITS / 25
    for number, seconds in values:
        late = seconds - (number - first) / 25
        # Two roundings to a millisecond.
        assert abs(late - turn * round(late / turn)) < 2e-3


def test_hls_in_loses_nothing_and_hls_out_is_a_whole_playlist(live, served, tmp_path):
    folder, address = served
    source = str(folder / "in.m3u8")
    record(source, 60, muxer="hls", hls_time="1", hls_list_size="0")
    output = tmp_path / "out.m3u8"
    status, report = live("--video", f"{address}/in.m3u8", "-o", output)
    assert status == 0
    assert report["frames"] == 60
    assert report["dropped"] == 0
    assert report["missed"] == 0
    values = numbers_in(str(output))
    numbers = [number for number, _ in values]
    assert numbers == list(range(60))
    for (_, a), (_, b) in pairwise(values):
        assert b - a == pytest.approx(1 / 25, abs=1e-3)
    assert "#EXT-X-ENDLIST" in output.read_text()


def test_a_playlist_from_the_network_cannot_read_local_files(
    live, served, tmp_path, capsys
):
    folder, address = served
    secret = record(str(tmp_path / "secret.ts"), 10, muxer="mpegts")
    (folder / "evil.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    )
    output = tmp_path / "out.ts"
    status, _ = live("--video", f"{address}/evil.m3u8", "-o", output, "--timeout", 2)
    assert status == 1
    assert not output.exists()
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "text",
    [
        HLS.format("{secret}"),
        HLS.format("../secret.ts"),
        HLS.format("file:{secret}"),
        HLS.format("link.ts"),
        HLS.format("inner.m3u8"),
        HLS.format("a.ts").replace(
            "#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="/etc/hostname"\n#EXTINF'
        ),
        HLS.format("a.ts").replace("#EXTINF", '#EXT-X-MAP:URI="../secret.ts"\n#EXTINF'),
        "ffconcat version 1.0\nfile '../secret.ts'\n",
        "ffconcat version 1.0\nfile {secret}\n",
        "ffconcat version 1.0\nfile inner.m3u8\n",
    ],
)
def test_a_local_playlist_stays_in_its_folder(tmp_path, text, capsys, tiny_model):
    folder = tmp_path / "lists"
    folder.mkdir()
    secret = tmp_path / "secret.ts"
    secret.write_bytes(b"private")
    (folder / "link.ts").symlink_to(secret)
    record(str(folder / "a.ts"), 3, muxer="mpegts")
    (folder / "inner.m3u8").write_text(HLS.format("../secret.ts"))
    playlist = folder / "list.m3u8"
    playlist.write_text(text.replace("{secret}", str(secret)))
    for output in ("out.mp4", "out.ts"):  # a file job and a live session
        status = main(
            [
                "--video",
                str(playlist),
                "-o",
                str(tmp_path / output),
                "--model",
                tiny_model,
            ]
        )
        assert status == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert "outside its folder; --trust-playlist allows it" in message


def test_a_playlist_that_is_trusted_may_reach_out(live, tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    playlist = Path(
        record(
            str(folder / "list.m3u8"), 12, muxer="hls", hls_time="1", hls_list_size="0"
        )
    )
    inside = tmp_path / "inside.mp4"
    status, _ = live("--video", playlist, "-o", inside)
    assert status == 0
    outside = tmp_path / "outside.ts"
    (folder / "list0.ts").rename(outside)
    playlist.write_text(playlist.read_text().replace("list0.ts", str(outside)))
    status, _ = live("--video", playlist, "-o", tmp_path / "outside.mp4")
    assert status == 2
    status, _ = live(
        "--video", playlist, "-o", tmp_path / "outside.mp4", "--trust-playlist"
    )
    assert status == 0
    assert (tmp_path / "outside.mp4").read_bytes() == inside.read_bytes()


def test_frames_beyond_the_limit_are_refused(live, tmp_path, capsys):
    source = record(str(tmp_path / "in.mp4"), 3)
    output = tmp_path / "out.ts"
    status, _ = live("--video", source, "-o", output, "--max-pixels", 64 * 48 - 1)
    assert status == 2
    assert "pictures of 64x48, expected at most 3071" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_is_copied_beside_the_picture(live, served, tmp_path, suffix):
    folder, address = served
    with av.open(make_video(str(tmp_path / "in.mp4"), range(25), audio="aac")) as clip:
        num_packets = count_sound(clip)
        with av.open(
            str(folder / "in.m3u8"), "w", format="hls", options={"hls_time": "9"}
        ) as output:
            copies = {s.index: output.add_stream_from_template(s) for s in clip.streams}
            clip.seek(0)
            for packet in clip.demux():
                if packet.dts is not None:
                    packet.stream = copies[packet.stream.index]
                    output.mux(packet)
    status, report = live(
        "--video", f"{address}/in.m3u8", "-o", tmp_path / f"out{suffix}"
    )
    assert status == 0
    assert report["sound"]
    with av.open(str(tmp_path / f"out{suffix}")) as result:
        # those before the first picture and behind the last one may be left out
        assert num_packets - 2 <= count_sound(result) <= num_packets
        assert result.streams.audio[0].codec_context.name == "aac"


def count_sound(container: InputContainer) -> int:
    """Packets of the first sound track."""
    return sum(1 for packet in container.demux(audio=0) if packet.size)


def test_addresses_mean_what_they_say():
    live = (
        "-",
        "udp://h:1",
        "tcp://h:1",
        "rtsp://h/x",
        "srt://h:1",
        "http://h/a.m3u8?x",
        "/dev/video0",
    )
    for path in live:
        assert is_live(path, "out.mp4")
    jobs = ("in.mp4", "udp", "http://h/a.mp4", "list.m3u8", "frames", "ftp://h/a.mp4")
    assert not any(
        is_live(path, output) for path in jobs for output in ("out.mp4", "frames", None)
    )
    assert all(
        is_live("in.mp4", output) for output in ("-", "udp://h:1", "out.ts", "out.m3u8")
    )
    raw = RawPictures(320, 240, "rgb24", Fraction(25))
    camera = find_input("/dev/video0", raw, True)
    assert camera.options == {"video_size": "320x240"}
    assert find_input("rtsp://h/x", None, True).options["rtsp_transport"] == "tcp"
    playlist = find_input("http://h/a.m3u8", None, False)
    assert "file" not in playlist.options["protocol_whitelist"].split(",")
    refusals = {
        None: "missing",
        "rtsp://h/x": "cannot send",
        "out.avi": "is written to",
    }
    for output, words in refusals.items():
        with pytest.raises(ValueError, match=words):
            find_target(output, False)


def test_a_camera_that_is_not_there_is_wrong_use(live, tmp_path, capsys):
    output = tmp_path / "out.mp4"
    # No machine has a hundred cameras.
    status, _ = live("--video", "/dev/video99", "-o", output)
    assert status == 2
    assert "/dev/video99: no such file or stream" in capsys.readouterr().err


def test_network_names_are_not_file_names():
    assert network.is_network("UDP://h:1")
    for path in ("udp", "udp:1", "C://x", "./http://x"):
        assert not network.is_network(path)


def test_codecs_that_a_container_does_not_carry_are_refused(live, tmp_path, capsys):
    source = record(str(tmp_path / "in.mp4"), 3)
    output = tmp_path / "out.ts"
    for codec in ("ffv1", "libsvtav1"):
        status, _ = live("--video", source, "-o", output, "--codec", codec)
        assert status == 2
        assert "mpegts holds libx264 or libx265" in capsys.readouterr().err
    assert not Path(output).exists()
