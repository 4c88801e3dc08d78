"""No list opens a file outside its folder; no picture beyond the limit is decoded."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streams import record

from infer.errors import JobError
from infer.sources.files import read_frames
from infer.sources.images import encode_png
from infer.sources.info import Limits
from infer.sources.opener import OutsideFolder, OwnFile, open_input
from infer.sources.probe import probe

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT1S"
 profiles="urn:mpeg:dash:profile:isoff-main:2011" mediaPresentationDuration="PT1S">
<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1000"
 codecs="avc1.64001f" width="64" height="48"><BaseURL>{}</BaseURL>
<SegmentBase/></Representation></AdaptationSet></Period></MPD>
"""
WAYS = {
    "hls_absolute.m3u8": HLS.format("{secret}"),
    "hls_parent.m3u8": HLS.format("../secret.ts"),
    "hls_deep.m3u8": HLS.format("sub/../../secret.ts"),
    "hls_file.m3u8": HLS.format("file:{secret}"),
    "hls_file_url.m3u8": HLS.format("file://{secret}"),
    "hls_link.m3u8": HLS.format("link.ts"),
    "hls_folder_link.m3u8": HLS.format("out/secret.ts"),
    "hls_inner.m3u8": HLS.format("inner.m3u8"),
    "hls_concat.m3u8": HLS.format("concat:a.ts|{secret}"),
    # FFmpeg's protocols that open a file behind their own name.
    "hls_subfile.m3u8": HLS.format("subfile,,start,0,end,0,,:{secret}"),
    "hls_crypto.m3u8": HLS.format("crypto:{secret}"),
    # A packet in the list itself, which opens another protocol.
    "hls_data.m3u8": HLS.format("data:video/mp2t;base64,R0A="),
    "hls_http.m3u8": HLS.format("http://127.0.0.1:9/a.ts"),
    "hls_map.m3u8": HLS.format("a.ts").replace(
        "#EXTINF", "#EXT-X-MAP:URI={secret}\n#EXTINF"
    ),
    "hls_key.m3u8": HLS.format("a.ts").replace(
        "#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="{secret}"\n#EXTINF'
    ),
    "concat_parent.ffconcat": "ffconcat version 1.0\nfile '../secret.ts'\n",
    "concat_absolute.ffconcat": "ffconcat version 1.0\nfile {secret}\n",
    "concat_tab.ffconcat": "ffconcat version 1.0\nfile\tlink.ts\n",
    "concat_inner.ffconcat": "ffconcat version 1.0\nfile inner.m3u8\n",
    "concat_protocol.ffconcat": "ffconcat version 1.0\nfile file:{secret}\n",
    "dash.mpd": DASH.format("../secret.ts"),
    "dash_absolute.mpd": DASH.format("{secret}"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip, beside a secret clip, and links to it."""
    parent = tmp_path_factory.mktemp("lists")
    record(str(parent / "secret.ts"), 5, muxer="mpegts")
    inside = parent / "inside"
    (inside / "sub").mkdir(parents=True)
    record(str(inside / "a.ts"), 5, muxer="mpegts")
    (inside / "link.ts").symlink_to(parent / "secret.ts")
    (inside / "out").symlink_to(parent)
    (inside / "inner.m3u8").write_text(HLS.format("../secret.ts"))
    for name, text in WAYS.items():
        secret = str(parent / "secret.ts")
        (inside / name).write_text(text.replace("{secret}", secret))
    return inside


@pytest.mark.parametrize("name", WAYS)
def test_a_list_stays_in_its_folder(folder: Path, name: str) -> None:
    """Whatever the form of the list, the way out, or the name of a file."""
    with pytest.raises((OutsideFolder, JobError)) as error:
        list(read_frames(probe(str(folder / name))))
    if not name.startswith("dash"):
        # DASH asks for nothing else when its first file is refused, and says so itself.
        assert "outside its folder; --trust-playlist allows it" in str(error.value)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Letters of paths, of escapes, of addresses, and one beyond ASCII.
@given(way=st.text("./\\ab\t\"'%#?&\u00e9", min_size=1, max_size=6))
def test_no_name_leads_out_of_the_folder(folder: Path, way: str) -> None:
    """Names that somehow reach the secret are refused, all others find nothing."""
    playlist = folder / "fuzzed.m3u8"
    playlist.write_text(HLS.format(f"{way}/secret.ts"))
    with pytest.raises((ValueError, JobError)):
        probe(str(playlist))


def test_a_list_inside_its_folder_is_read(folder: Path, tmp_path: Path) -> None:
    info = probe(str(folder / "a.ts"))
    frames = len(list(read_frames(info)))
    assert frames == 5
    for name, text in {
        "x.m3u8": HLS.format("a.ts"),
        "x.ffconcat": "ffconcat version 1.0\nfile a.ts\nfile a.ts\n",
    }.items():
        place = tmp_path / name
        place.write_text(text)
        (tmp_path / "a.ts").write_bytes((folder / "a.ts").read_bytes())
        expected = frames * text.count("a.ts")
        assert len(list(read_frames(probe(str(place))))) == expected


def test_a_trusted_list_may_reach_out(folder: Path) -> None:
    trusted = Limits(trusted=True)
    for name in ("hls_absolute.m3u8", "concat_absolute.ffconcat"):
        info = probe(str(folder / name), limits=trusted)
        assert len(list(read_frames(info))) == 5


def test_a_list_without_its_file_says_which_one(tmp_path: Path) -> None:
    (tmp_path / "a.m3u8").write_text(HLS.format("gone.ts"))
    with pytest.raises(JobError, match=r"gone.ts, which is not there"):
        probe(str(tmp_path / "a.m3u8"))


def test_lists_that_name_each_other_end(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.m3u8").write_text(HLS.format(f"{other}.m3u8"))
    with pytest.raises(OutsideFolder):
        probe(str(tmp_path / "a.m3u8"))


def test_names_mean_files_whatever_they_look_like(tmp_path: Path) -> None:
    """Patterns, addresses, and bytes that are no text."""
    names = [
        "50%d off.png",
        "501 off.png",
        "12:30.png",
        "concat:a|b.png",
        "caf\udce9.png",
    ]
    for level, name in enumerate(names, 50):
        picture = np.full((4, 4, 3), level, np.uint8)
        (tmp_path / name).write_bytes(encode_png(picture))
    for level, name in enumerate(names, 50):
        info = probe(str(tmp_path / name))
        (frame,) = read_frames(info)
        assert (frame.rgb == level).all(), name


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.mp4"
    os.mkfifo(fifo)
    with pytest.raises(ValueError, match="not a regular file"):
        probe(str(fifo))
    with pytest.raises(ValueError, match="not a regular file"):
        probe(os.devnull)
    with pytest.raises(ValueError, match="an address, expected a file"):
        open_input("http://127.0.0.1:9/a.mp4")


def png_header(width: int, height: int) -> bytes:
    """A PNG file that promises a picture and holds none of it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data))
            + name
            + data
            + struct.pack(">I", zlib.crc32(name + data))
        )

    # Eight bits, RGB.
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"\0")),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_pictures_beyond_the_limit_are_not_decoded(tmp_path: Path) -> None:
    picture = tmp_path / "huge.png"
    # 256 million pixels, nearly four times the limit: most of a GiB when decoded.
    picture.write_bytes(png_header(16000, 16000))
    with pytest.raises(ValueError, match=r"16000x16000, expected at most 67108864"):
        probe(str(picture))
    clip = record(str(tmp_path / "a.mp4"), 2)
    info = probe(clip, limits=Limits(max_pixels=64 * 48))
    assert info.width == 64
    with pytest.raises(ValueError, match="64x48, expected at most 3071 pixels"):
        probe(clip, limits=Limits(max_pixels=64 * 48 - 1))


def test_a_place_that_no_file_has_is_an_error_in_numbers(tmp_path: Path) -> None:
    """An exception would be printed by PyAV, with a traceback."""
    (tmp_path / "a").write_bytes(b"12345")
    file = OwnFile(str(tmp_path / "a"))
    assert file.seek(3) == 3
    assert file.seek(-5) < 0
    # More than a C program's 63 bits.
    assert file.seek(2**70) < 0
    assert file.read(2) == b"45"
