"""Damaged files, packets, times and weights: a good file or one clear line; nothing
half-done is left behind.
"""

import json
import random
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import make_video
from endings import COUNT, SIZE, ends_well

from infer.errors import JobError
from infer.sources.files import read_frames
from infer.sources.probe import probe

pytestmark = pytest.mark.timeout(
    120, method="thread"
)  # the watchdog: it also ends what hangs outside of Python


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut, with bits flipped anywhere or near the beginning, with a part zeroed,
    doubled or missing.
    """
    changed = bytearray(data)
    place = rng.randrange(len(data))
    kind = rng.choice(["cut", "flip", "head", "zero", "double", "drop"])
    if kind == "cut":
        return data[:place]
    if kind in ("flip", "head"):
        # the header of a small file is in its first 1200 bytes
        limit = min(len(data), 1200) if kind == "head" else len(data)
        num_bits = rng.choice((1, 4, 32))
        for _ in range(num_bits):
            position = rng.randrange(limit)
            changed[position] ^= 1 << rng.randrange(8)
    elif kind == "zero":
        end = min(len(data), place + rng.randrange(1, 200))
        changed[place:end] = bytes(end - place)
    elif kind == "double":
        changed[place:place] = data[place : place + rng.randrange(1, 300)]
    else:
        del changed[place : place + rng.randrange(1, 300)]
    return bytes(changed)


WORDS = [
    (),
    ("-o", "o.mkv"),
    ("-o", "o.mov", "--drop-streams"),
    ("-o", "o.mkv", "--segment", "2"),
    ("-o", "o.mkv", "--deinterlace"),
    ("-o", "o.mkv", "--start", "2", "--frames", "3"),
]


@pytest.mark.parametrize(
    "seed",
    [
        *range(24),
        *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(24, 224)),
    ],
)
def test_damage_gives_a_good_file_or_one_line(
    upscale, sources, tmp_path, monkeypatch, seed
):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    name = rng.choice(sorted(sources))
    (tmp_path / name).write_bytes(damaged(sources[name], rng))
    words = ["--video", name, *rng.choice(WORDS)]
    try:
        info = probe(name)
    except (ValueError, JobError):
        info = None  # the command will say so
    if info is not None:
        has_usual_size = (info.width, info.height) == SIZE
        if not has_usual_size or info.layout.is_deep:
            pytest.skip(
                "the damage made it another size or depth, whose compilation takes long"
            )
    status, stderr = upscale(*words)
    ends_well(tmp_path, {name}, status, stderr)


def test_a_broken_packet_of_sound_does_not_cost_the_video(upscale, sources, tmp_path):
    """MPEG-TS sound has headers of its own, which mp4 takes off; one that is broken is
    left out, and said.
    """
    data = sources["h264.ts"]
    source = tmp_path / "in.ts"
    with av.open(make(source, data)) as container:
        places = [packet.pos for packet in container.demux(audio=0) if packet.size]
    middle = places[len(places) // 2]
    # the word that begins a header of AAC
    place = data.index(b"\xff\xf1", middle)
    make(source, data[:place] + b"\x00\x00" + data[place + 2 :])
    output = tmp_path / "o.mp4"
    status, stderr = upscale("--video", source, "-o", output)
    assert ends_well(tmp_path, {"in.ts"}, status, stderr) is None
    assert "not as in the source: audio 1" in stderr
    info = probe(str(output))
    assert len(list(read_frames(info))) == COUNT


def make(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def tampered(data: bytes) -> dict[str, bytes]:
    """Damaged weight files by the name of their damage."""
    # eight bytes: the length of the JSON behind them, and then the weights
    (size,) = struct.unpack("<Q", data[:8])
    end = 8 + size
    head = json.loads(data[8:end])
    body = data[end:]
    metadata = head.pop("__metadata__")
    config = metadata["config"]
    key, *_ = head
    leaf = head[key]

    def with_head(new: dict) -> bytes:
        text = json.dumps(new).encode()
        return struct.pack("<Q", len(text)) + text + body

    def with_metadata(new: dict) -> bytes:
        return with_head({**head, "__metadata__": new})

    def with_leaf(new: dict) -> bytes:
        # without its checksum, which would tell the damage first
        return with_head({**head, "__metadata__": {"config": config}, key: new})

    flipped = bytearray(data)
    flipped[-100] ^= 8
    other_config = config.replace("4", "3")
    return {
        "empty": b"",
        "cut": data[:-1000],
        "cut header": data[: size // 2],
        # 2^64 - 1 bytes, which nobody may reserve.
        "long header": b"\xff" * 8 + data[8:],
        "header of 100 MB": struct.pack("<Q", 10**8) + data[8:],
        "weights": bytes(flipped),
        "config": with_metadata({**metadata, "config": other_config}),
        "bare config": with_metadata({"config": "{"}),
        "unknown field": with_metadata({"config": '{"speed": 9}'}),
        "no config": with_head(head),
        # The number 1, as Python would write it: it must not even be looked at.
        "pickle": b"\x80\x04K\x01.",
        "dtype": with_leaf({**leaf, "dtype": "I32"}),
        "shape": with_leaf({**leaf, "shape": [1, *leaf["shape"]]}),
    }


def test_tampered_weights_are_refused_in_one_line(
    upscale, sources, tmp_path, tiny_model
):
    source = tmp_path / "in.mp4"
    source.write_bytes(sources["a.mp4"])
    model = tmp_path / "m.safetensors"
    for what, data in tampered(Path(tiny_model).read_bytes()).items():
        model.write_bytes(data)
        status, stderr = upscale("--video", source, model=model)
        error = ends_well(tmp_path, {"in.mp4", "m.safetensors"}, status, stderr)
        assert status == 2, what
        assert str(model) in (error or ""), what


def test_missing_and_foolish_timestamps(upscale, tmp_path):
    source = make_video(
        str(tmp_path / "in.mkv"),
        # The same time twice and three times, and one thirty years later.
        [0, 0, 5, 5, 5, 2**40],
        SIZE,
        Fraction(1, 1000),
        codec="ffv1",
    )
    output = tmp_path / "o.mkv"
    status, stderr = upscale("--video", source, "-o", output, "--codec", "ffv1")
    assert ends_well(tmp_path, {"in.mkv"}, status, stderr) is None
    info = probe(str(output))
    times = [f.pts for f in read_frames(info)]
    assert times == sorted(set(times))
    assert np.diff(times).min() > 0


def test_a_display_matrix_beyond_all_bounds(upscale, tmp_path):
    """Its shift grows with the picture."""
    # A quarter turn that is moved by 2^30 pixels.
    matrix = (0, 65536, 0, -65536, 0, 0, 2**30, -(2**30), 1 << 30)
    source = tmp_path / "in.mp4"
    make_video(str(source), range(2), SIZE, matrix=matrix)
    assert ends_well(tmp_path, {"in.mp4"}, *upscale("--video", source)) is None


def test_times_that_a_container_cannot_hold_are_told(upscale, tmp_path):
    source = make_video(
        # A hundred days: more ticks than the 32 bits of QuickTime's durations count.
        str(tmp_path / "in.mkv"),
        [0, 1, 2**33],
        SIZE,
        Fraction(1, 1000),
        codec="ffv1",
    )
    output = tmp_path / "o.mov"
    status, stderr = upscale("--video", source, "-o", output)
    errors = [line for line in stderr.splitlines() if line.startswith("error")]
    assert status == 1, stderr
    assert len(errors) == 1, stderr
    assert not output.exists(), stderr
    assert "cannot hold a picture at its time" in errors[0]
    status, stderr = upscale("--video", source, "-o", tmp_path / "o.mkv")
    assert status == 0, stderr
