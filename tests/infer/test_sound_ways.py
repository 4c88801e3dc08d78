"""How sound gets into a container, asked of the muxers alone."""

import dataclasses
from fractions import Fraction

import av
import numpy as np
import pytest

from infer.sinks.containers import COPY, COPY_AS_ACM, takes_encoded, way_into
from infer.sinks.packets import payload, single_packets
from infer.sinks.sound_encoder import AAC
from infer.sinks.timeline import Timeline, cut_chapters
from infer.sources.info import DEFAULT_LIMITS
from infer.sources.probe import probe

RATE = 48000


def make_sound(path: str, muxer: str, codec: str, picture: str = "mpeg4") -> str:
    """A short file with a tone in such a codec beside a few pictures."""
    with av.open(path, "w", format=muxer) as output:
        video = output.add_stream(picture, rate=25)
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv420p"
        sound = output.add_stream(codec, rate=RATE, layout="stereo")
        # WMA has no bit rate of its own
        sound.bit_rate = 128_000
        for number in range(4):
            level = 40 * number
            pixels = np.full((48, 64, 3), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for number in range(8):
            # higher from packet to packet, so that no two have the same bytes
            step = 0.05 * (number + 1)
            wave = np.sin(np.arange(1024) * step)
            stereo = np.repeat(wave, 2)
            samples = np.int16(8000 * stereo)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            frame.rate = RATE
            frame.pts = 1024 * number
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return path


WAYS = [
    ("avi", "adpcm_ms", "mpeg4", "matroska", COPY_AS_ACM),
    ("avi", "adpcm_ms", "mpeg4", "mp4", None),
    ("asf", "wmav2", "wmv2", "matroska", COPY_AS_ACM),
    ("matroska", "aac", "mpeg4", "mp4", COPY),
    ("vob", "pcm_dvd", "mpeg2video", "mp4", "flac"),
    ("vob", "pcm_dvd", "mpeg2video", "mov", "pcm_s16le"),
    ("vob", "pcm_dvd", "mpeg2video", "matroska", "pcm_s16le"),
]


@pytest.mark.parametrize(("muxer", "codec", "picture", "target", "way"), WAYS)
def test_the_best_way_is_found(tmp_path, muxer, codec, picture, target, way):
    source = str(tmp_path / "in")
    path = make_sound(source, muxer, codec, picture)
    info = probe(path)
    (sound,) = info.others
    assert way_into(target, info, sound) == way
    assert takes_encoded(target, path, sound, DEFAULT_LIMITS, AAC)


def test_aac_is_the_same_with_and_without_its_transport_header(tmp_path):
    headed = make_sound(str(tmp_path / "in.ts"), "mpegts", "aac", "mpeg2video")
    bare = str(tmp_path / "in.mp4")
    with av.open(headed) as source, av.open(bare, "w") as output:
        track = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = track
                output.mux(packet)
    payloads = []
    sizes = []
    for path in (headed, bare):
        with av.open(path) as container:
            packets = [p for p in container.demux(audio=0) if p.size]
            payloads.append([payload(packet) for packet in packets])
            sizes.append(sum(packet.size for packet in packets))
    assert payloads[0] == payloads[1]
    # seven bytes of header for every packet, or nothing was compared
    num_packets = len(payloads[0])
    assert sizes[0] - sizes[1] == 7 * num_packets


def test_packets_that_are_no_speech_stay_whole(tmp_path):
    source = str(tmp_path / "in.mkv")
    path = make_sound(source, "matroska", "aac")
    with av.open(path) as container:
        packet = next(container.demux(audio=0))
        assert list(single_packets(packet)) == [packet]


def test_packets_outside_a_part_are_left_out():
    tick = Fraction(1, 25)
    # frames 50 and 51, from second 2 to second 3
    part = Timeline((50, 51), (1, 1), tick, Fraction(2), Fraction(3), begins_late=True)
    assert part.is_outside(Fraction("1.9"))
    assert not part.is_outside(Fraction("2.0"))
    assert not part.is_outside(Fraction("2.9"))
    assert part.is_outside(Fraction("3.0"))
    complete = Timeline((0, 1), (1, 1), tick)
    # sound before the first picture stays
    assert not complete.is_outside(Fraction(-5))
    assert part.shifted() == [0, 1]


def test_chapters_are_cut_to_a_part(tmp_path):
    base = Fraction(1, 1000)
    source = str(tmp_path / "in.mkv")
    info = probe(make_sound(source, "matroska", "aac"))
    # milliseconds: before the part, over its beginning, over its end, behind it
    spans = [(0, 1000), (1000, 2500), (2500, 9000), (9000, 9500)]
    chapters = tuple(
        {"id": i, "start": start, "end": end, "time_base": base, "metadata": {}}
        for i, (start, end) in enumerate(spans)
    )
    info = dataclasses.replace(info, chapters=chapters)
    tick = Fraction(1, 25)
    part = Timeline((50,), (1,), tick, Fraction(2), Fraction(3), begins_late=True)
    cuts = [(c["start"], c["end"]) for c in cut_chapters(info, part)]
    assert cuts == [(0, 500), (500, 1000)]
