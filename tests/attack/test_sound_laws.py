"""Every sound has a way into the output: copied, lossless, or encoded on request; to
leave it out is the last thing that is offered.
"""

import hashlib
import re
from pathlib import Path

import av
import pytest

from tests.attack.conftest import Upscale
from tests.attack.outcome import kinds, sound_seconds
from tests.attack.recordings import record


def sound_md5(path: str | Path) -> str:
    """MD5 of the decoded samples of the first sound track."""
    digest = hashlib.md5(usedforsecurity=False)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            digest.update(frame.to_ndarray().tobytes())
    return digest.hexdigest()


def samples_md5(path: str | Path) -> str:
    """MD5 of the first sound track as interleaved 16 bit samples."""
    digest = hashlib.md5(usedforsecurity=False)
    resampler = av.AudioResampler("s16")
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                digest.update(part.to_ndarray().tobytes())
    return digest.hexdigest()


def first_packets(path: str | Path) -> list[bytes]:
    """The bytes of the packets of the first sound track."""
    with av.open(str(path)) as container:
        packets = container.demux(audio=0)
        return [bytes(p) for p in packets if p.size]


COPIED = [
    (".avi", "avi", "adpcm_ms"),
    (".avi", "avi", "adpcm_ima_wav"),
    (".avi", "avi", "adpcm_yamaha"),
    (".wmv", "asf", "wmav1"),
    (".wmv", "asf", "wmav2"),
    (".mov", "mov", "pcm_mulaw"),
    (".mov", "mov", "alac"),
    (".mkv", "matroska", "tta"),
    (".mkv", "matroska", "wavpack"),
    (".ts", "mpegts", "eac3"),
]


@pytest.mark.parametrize(("suffix", "muxer", "codec"), COPIED)
def test_what_matroska_takes_is_copied_into_it(
    upscale: Upscale, tmp_path: Path, suffix: str, muxer: str, codec: str
) -> None:
    # Each container with pictures of its own time.
    video = "wmv2" if muxer == "asf" else "mpeg4"
    source = record(tmp_path / f"in{suffix}", muxer, video, codec)
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert outcome.warnings == []
    assert sound_md5(output) == sound_md5(source)
    # containers put a packet's bytes into more or fewer of their own
    copy = b"".join(first_packets(output))
    expected = b"".join(first_packets(source))
    assert copy == expected


@pytest.mark.parametrize("name", ["wma_sound.wmv", "adpcm_ima.avi"])
def test_the_reported_sounds_are_copied(
    upscale: Upscale, tmp_path: Path, field, name: str
) -> None:
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", field(name), "-o", output)
    outcome.check_done()
    assert outcome.warnings == []
    assert sound_md5(output) == sound_md5(field(name))


@pytest.mark.parametrize("name", ["wma_sound.wmv", "adpcm_ima.avi"])
def test_without_an_output_name_a_container_is_found(
    upscale: Upscale, tmp_path: Path, field, name: str
) -> None:
    """The default name is the first container that loses nothing."""
    source = tmp_path / name
    source.write_bytes(Path(field(name)).read_bytes())
    upscale("--video", source).check_done()
    (output,) = tmp_path.glob("*_x4.*")
    assert len(kinds(output)) == 2


PCM = [
    (".vob", "vob", "pcm_dvd"),
    (".mov", "mov", "pcm_s16be"),
    (".avi", "avi", "pcm_u8"),
    (".mxf", "mxf", "pcm_s16le"),
]


@pytest.mark.parametrize("output", ["o.mkv", "o.mov"])
@pytest.mark.parametrize(("suffix", "muxer", "codec"), PCM)
def test_samples_of_pcm_come_out_equal(
    upscale: Upscale, tmp_path: Path, suffix: str, muxer: str, codec: str, output: str
) -> None:
    video = "mpeg4" if muxer in ("avi", "mov") else "mpeg2video"
    source = record(tmp_path / f"in{suffix}", muxer, video, codec)
    upscale("--video", source, "-o", tmp_path / output).check_done()
    assert samples_md5(tmp_path / output) == samples_md5(source)


@pytest.mark.parametrize("output", ["o.mkv", "o.mov", "o.mp4"])
def test_the_reported_dvd_sound_is_kept(
    upscale: Upscale, tmp_path: Path, field, output: str
) -> None:
    source = field("lpcm_dvd.vob")
    upscale("--video", source, "-o", tmp_path / output).check_done()
    assert samples_md5(tmp_path / output) == samples_md5(source)


def proposal(line: str) -> list[str]:
    """The option that an error line offers before --drop-streams, with its value."""
    offers = re.findall(r"(--[a-z-]+)(?:[ =](aac|flac|mp3|opus))?", line)
    name, value = offers[0]
    assert name != "--drop-streams", line
    assert "--drop-streams" not in line.partition(name)[0], line
    return [name, value] if value else [name]


LATM = "aac_latm.ts"
REFUSED = [(LATM, "o.mkv"), (LATM, "o.mp4"), ("adpcm_ima.avi", "o.mp4")]


def test_a_sound_of_quicktime_alone_is_encoded_on_request(
    upscale: Upscale, tmp_path: Path
) -> None:
    """Matroska has no number for it, and FFmpeg refuses to copy it."""
    source = record(tmp_path / "in.mov", "mov", "mpeg4", "adpcm_ima_qt")
    output = tmp_path / "o.mkv"
    words = ("--video", source, "-o", output)
    outcome = upscale(*words)
    outcome.check_refused("--encode-audio", ".mov", status=2)
    upscale(*words, "--encode-audio").check_done()
    assert kinds(output) == ["video h264", "audio aac"]


@pytest.mark.parametrize(("name", "output"), REFUSED)
def test_a_sound_without_a_way_is_encoded_on_request(
    upscale: Upscale, tmp_path: Path, field, name: str, output: str
) -> None:
    """The refusal names an option, which then brings the whole sound."""
    words = ("--video", field(name), "-o", tmp_path / output)
    outcome = upscale(*words)
    outcome.check_refused(status=2)
    (line,) = outcome.errors
    option = proposal(line)
    upscale(*words, *option).check_done()
    expected = sound_seconds(field(name))
    length = sound_seconds(tmp_path / output)
    # an encoder adds its priming and fills its last frame: 1024 samples each at least
    assert abs(length - expected) < 0.2


def test_a_damaged_packet_does_not_end_the_sound(
    upscale: Upscale, tmp_path: Path, field
) -> None:
    """The rest of a sound that is encoded anew stays, and the loss is told."""
    data = Path(field(LATM)).read_bytes()
    packet = first_packets(field(LATM))[5]
    # the length of the packet stays, or its neighbours would be damaged, too
    place = data.index(packet[:20]) + 3
    source = tmp_path / "in.ts"
    damage = b"\xff" * 16
    end = place + len(damage)
    source.write_bytes(data[:place] + damage + data[end:])
    output = tmp_path / "o.mp4"
    outcome = upscale("--video", source, "-o", output, "--encode-audio")
    outcome.check_done()
    warnings = "".join(outcome.warnings)
    assert "1 packets of the source cannot be decoded" in warnings
    length = sound_seconds(output)
    # a packet is less than that
    assert length > sound_seconds(field(LATM)) - 0.2


@pytest.mark.heavy(60)  # pictures of 720x480 in many tiles
@pytest.mark.parametrize("output", ["o.mkv", "o.mov", "o.mp4"])
def test_dv_has_its_true_rate(
    upscale: Upscale, tmp_path: Path, field, output: str
) -> None:
    words = ("--frames", 1, "--scale", 2, "-o", tmp_path / output)
    outcome = upscale("--video", field("ntsc.dv"), *words, "--tile", "64")
    outcome.check_done()
    assert "29.97" in outcome.text
    assert "60000" not in outcome.text


def test_no_message_names_a_temporary_file(upscale: Upscale, tmp_path: Path, field):
    output = tmp_path / "o.mp4"
    outcome = upscale("--video", field(LATM), "-o", output)
    outcome.check_refused(LATM)
    # Names that this program and Python give to files that are not the user's.
    for word in ("unfinished", ".parts", "/tmp/tmp", "<_io"):
        assert word not in outcome.text
