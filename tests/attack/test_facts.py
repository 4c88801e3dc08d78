"""Nothing changes silently: orientation, aspect, crop, alpha, size and rate are facts
of each frame, applied or told.
"""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from infer.sources.files import FileSource
from infer.sources.probe import probe
from tests.attack.conftest import Upscale
from tests.attack.outcome import first_picture, kinds, picture_times
from tests.attack.recordings import join, moving, record

ROTATIONS = {6: -90, 8: 90, 3: 180}
"""EXIF orientation -> degrees, counted against the clock, that make it upright."""


def arrow() -> Image.Image:
    """A 64x48 picture that has one upright: red above, blue below, green left."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24] = (220, 40, 40)
    picture[24:] = (40, 40, 220)
    picture[:, :16] = (40, 220, 40)
    return Image.fromarray(picture)


def photograph(path: Path, orientation: int) -> None:
    """The arrow as a camera that was turned stores it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture_as_stored = arrow()
    if orientation in ROTATIONS:
        picture_as_stored = picture_as_stored.rotate(
            -ROTATIONS[orientation], expand=True
        )
    picture_as_stored.save(path, exif=exif, quality=95)


def view(path: Path) -> np.ndarray:
    """A picture as viewers show it, with EXIF orientation applied."""
    from PIL import ImageOps

    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        return np.asarray(upright.convert("RGB")).astype(float)


def difference(path: Path) -> float:
    """Mean distance of a shown picture from the upright arrow, in levels of 255."""
    picture = view(path)
    width = picture.shape[1]
    height = picture.shape[0]
    upright = np.asarray(arrow().resize((width, height)), float)
    return float(np.abs(picture - upright).mean())


FAR = 40.0
"""Levels between a turned arrow and the upright one (above 70) and between an upscaled
one of random weights and the original (below 25)."""


@pytest.mark.parametrize("orientations", [(1, 6, 3), (6, 6, 6), (3, 1, 8)])
def test_every_photograph_is_upright(
    upscale: Upscale, tmp_path: Path, orientations: tuple[int, ...]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, orientation in enumerate(orientations):
        photograph(folder / f"{number}.jpg", orientation)
    output = tmp_path / "o"
    upscale("--video", folder, "-o", output).check_done()
    distances = [difference(path) for path in sorted(output.iterdir())]
    assert len(distances) == len(orientations)
    assert max(distances) < FAR, distances


def test_a_video_of_photographs_is_upright(upscale: Upscale, tmp_path: Path) -> None:
    """The orientation of the first picture alone must not turn the rest."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, orientation in enumerate((1, 3, 3)):
        photograph(folder / f"{number}.jpg", orientation)
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", folder, "-o", output)
    outcome.check_done()
    with av.open(str(output)) as container:
        frames = list(container.decode(video=0))
    for picture in frames:
        rgb = picture.to_ndarray(format="rgb24")
        frame = tmp_path / "frame.png"
        Image.fromarray(rgb).save(frame)
        assert difference(frame) < FAR, outcome.text


def test_the_reported_photographs(upscale: Upscale, tmp_path: Path, field) -> None:
    output = tmp_path / "o"
    upscale("--video", field("exif_mixed"), "-o", output).check_done()
    sources = sorted(Path(field("exif_mixed")).iterdir())
    outputs = sorted(output.iterdir())
    for source, path in zip(sources, outputs, strict=True):
        height, width, _ = view(source).shape
        assert view(path).shape == (4 * height, 4 * width, 3)


def with_aspect(path: Path, numerator: int, denominator: int) -> Path:
    """A part of a broadcast with this shape of pixels."""
    with av.open(str(path), "w", format="mpegts") as output:
        video = output.add_stream("mpeg2video", rate=25)
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv420p"
        aspect = Fraction(numerator, denominator)
        video.codec_context.sample_aspect_ratio = aspect
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(moving(number))
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def test_an_aspect_that_changes_is_told(upscale: Upscale, tmp_path: Path) -> None:
    parts = [
        with_aspect(tmp_path / "1.ts", 1, 1),
        with_aspect(tmp_path / "2.ts", 4, 3),
    ]
    source = join(tmp_path / "in.ts", *parts)
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert "aspect" in "".join(outcome.warnings)


def test_the_reported_aspect(upscale: Upscale, tmp_path: Path, field) -> None:
    source = field("aspect_changes.ts")
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert "aspect" in "".join(outcome.warnings)


def test_an_aspect_that_pictures_cannot_say_is_told(
    upscale: Upscale, tmp_path: Path
) -> None:
    source = with_aspect(tmp_path / "in.ts", 4, 3)
    output = tmp_path / "o"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert "pixel aspect ratio (4/3)" in outcome.text


def test_an_aspect_that_changes_begins_a_file(
    upscale: Upscale, tmp_path: Path, field
) -> None:
    output = tmp_path / "o.mkv"
    words = ("--video", field("aspect_changes.ts"), "-o", output)
    upscale(*words, "--on-resize", "split").check_done()
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["o.mkv", "o_2.mkv"]


@pytest.mark.parametrize("words", ["o.mkv", "o.mp4", "o.ts", "frames"])
def test_alpha_is_carried_or_told(
    upscale: Upscale, tmp_path: Path, field, words: str
) -> None:
    """Pixels that a player shows as transparent are transparent, or a note says no."""
    output = tmp_path / words
    outcome = upscale("--video", field("vp9_alpha.webm"), "-o", output)
    outcome.check_done()
    path = output if output.is_file() else min(output.iterdir())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        tags = {name.lower() for name in stream.metadata}
        frame = next(container.decode(stream))
        # yuva420p, rgba, ya8: behind them stand numbers and byte orders
        has_alpha = "a" in frame.format.name[:5]
    assert "alpha" in outcome.text or has_alpha
    assert "alpha_mode" not in tags or has_alpha


def alpha_of(path: Path) -> np.ndarray:
    """The alpha channel [h, w] of the first picture, full scale = 1."""
    info = probe(str(path))
    frame = next(FileSource(info, with_alpha=True).frames())
    assert frame.alpha is not None
    return frame.alpha / np.iinfo(frame.alpha.dtype).max


def check_half_clear(path: Path) -> None:
    """The left half is transparent and the right one opaque, as in the source."""
    alpha = alpha_of(path)
    third = alpha.shape[1] // 3
    left = alpha[:, :third]
    right = alpha[:, -third:]
    # Thirds, because upscaling and lossy codecs blur the edge in the middle.
    assert left.mean() < 0.05
    assert right.mean() > 0.95


HOLDS_ALPHA = [
    ("o.mkv", "ffv1"),
    ("o.mkv", "vp9"),
    ("o.mov", "prores"),
    ("o.mkv", "prores"),
    ("o", None),
]


@pytest.mark.parametrize(("output", "codec"), HOLDS_ALPHA)
@pytest.mark.parametrize("source", ["vp9_alpha.webm", "in.gif", "in.webp", "in"])
def test_alpha_is_kept_where_the_output_holds_it(
    upscale: Upscale,
    tmp_path: Path,
    field,
    source: str,
    output: str,
    codec: str | None,
) -> None:
    path = tmp_path / source
    if source == "in":
        path.mkdir()
        half_clear().save(path / "0.png")
        half_clear().save(path / "1.png")
    elif source.startswith("in"):
        # equal pictures would become one
        later = half_clear().transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        # Pillow's lossy animations have no alpha
        options = {"lossless": True} if source == "in.webp" else {}
        half_clear().save(path, save_all=True, append_images=[later], **options)
    else:
        path = Path(field(source))
    words = ("--codec", codec) if codec else ()
    outcome = upscale("--video", path, "-o", tmp_path / output, *words)
    outcome.check_done()
    assert outcome.warnings == []
    assert "left out" not in outcome.text
    check_half_clear(tmp_path / output)


@pytest.mark.parametrize("codec", ["libx264", "vp9"])
def test_alpha_that_mp4_does_not_hold_is_told(
    upscale: Upscale, tmp_path: Path, field, codec: str
) -> None:
    output = tmp_path / "o.mp4"
    words = ("-o", output, "--codec", codec)
    outcome = upscale("--video", field("vp9_alpha.webm"), *words)
    outcome.check_done()
    assert "alpha channel is left out" in outcome.text
    assert not probe(str(output)).layout.has_alpha


@pytest.mark.parametrize("output", ["o", "o.mkv"])
def test_alpha_of_a_later_picture_is_kept_or_told(
    upscale: Upscale, tmp_path: Path, output: str
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    arrow().save(folder / "0.png")
    half_clear().save(folder / "1.png")
    outcome = upscale("--video", folder, "-o", tmp_path / output)
    outcome.check_done()
    if output == "o":
        check_half_clear(tmp_path / "o/1.png")
        assert alpha_of(tmp_path / "o/0.png").min() == 1
    else:
        assert "alpha" in "".join(outcome.warnings)


@pytest.mark.parametrize("suffix", [".png", ".avif", ".webp", ".tif", ".tga"])
def test_alpha_of_one_picture_is_kept(
    upscale: Upscale, tmp_path: Path, suffix: str
) -> None:
    source = tmp_path / f"in{suffix}"
    half_clear().save(source)
    output = tmp_path / "o.png"
    upscale("--video", source, "-o", output).check_done()
    check_half_clear(output)


def half_clear() -> Image.Image:
    """The arrow whose left half is transparent."""
    picture = arrow().convert("RGBA")
    mask = Image.new("L", picture.size, 255)
    mask.paste(0, (0, 0, 32, 48))
    picture.putalpha(mask)
    return picture


@pytest.mark.parametrize("form", ["RGBA", "P", "LA"])
def test_alpha_of_pictures_is_kept_in_pictures(
    upscale: Upscale, tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    half_clear().convert(form).save(folder / "0.png")
    output = tmp_path / "o"
    outcome = upscale("--video", folder, "-o", output)
    outcome.check_done()
    with Image.open(tmp_path / "o/0.png") as picture:
        has_alpha = picture.mode == "RGBA"
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert has_alpha or "alpha" in outcome.text
    if has_alpha:
        # Of 256 columns the middle 64 are left out: the edge is blurred there.
        assert alpha[:, :96].mean() < 20
        assert alpha[:, 160:].mean() > 235


def test_alpha_of_a_palette_is_told(upscale: Upscale, tmp_path: Path) -> None:
    source = tmp_path / "in.gif"
    picture = half_clear()
    picture.save(source, save_all=True, append_images=[picture])
    output = tmp_path / "o.mp4"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert "alpha" in outcome.text


def woven(path: Path, flagged: bool = False) -> Path:
    """Frames whose odd lines come from half a frame later, as interlaced video."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("huffyuv", rate=25)
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv422p"
        for number in range(6):
            picture = moving(20 * number)
            later = moving(20 * number + 10)
            picture[1::2] = later[1::2]
            bar = 10 * number
            picture[0::2, bar : bar + 8] = 255
            picture[1::2, bar + 5 : bar + 13] = 255
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def combing(path: Path, scale: int) -> float:
    """Mean jump between neighbouring source lines of a later picture, in levels."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    # in the middle: the first and the last have neighbours on one side only
    grey = frames[3].to_ndarray(format="gray")
    lines = grey.reshape(48, scale, -1).mean(1)
    jumps = np.diff(lines.astype(float), axis=0)
    return float(np.abs(jumps).mean())


@pytest.mark.parametrize("name", ["made.avi", "interlaced_not_flagged.avi"])
def test_woven_fields_without_a_flag_are_deinterlaced_or_told(
    upscale: Upscale, tmp_path: Path, field, name: str
) -> None:
    path = tmp_path / name
    if name == "made.avi":
        woven(path)
    else:
        shutil.copy(field(name), path)
    output = tmp_path / "o.mkv"
    outcome = upscale("-i", path, "-o", output, "--deinterlace")
    outcome.check_done()
    assert "interlace" in outcome.text
    if "flag" not in outcome.text.lower():
        assert combing(output, 4) < combing(path, 1) / 2


@pytest.mark.parametrize("name", ["data_track.mp4", "data_track_and_chapters.mp4"])
def test_data_tracks_are_told(upscale: Upscale, tmp_path: Path, field, name: str):
    output = tmp_path / "o.mp4"
    outcome = upscale("--video", field(name), "-o", output)
    outcome.check_done()
    assert "left out: data stream 2" in outcome.text
    assert outcome.text.count("data stream") == 1


@pytest.mark.parametrize("start", [2, 4, 6])
def test_a_subtitle_on_screen_at_the_start_stays(
    upscale: Upscale, tmp_path: Path, field, start: int
) -> None:
    """One is shown from 0.04 to 0.30 s, which is frames 1 to 7, and another from 0.20
    to 0.28 s.
    """
    output = tmp_path / "o.mkv"
    words = ("-o", output, "--start", start)
    upscale("--video", field("subtitle_across_start.mkv"), *words).check_done()
    with av.open(str(output)) as container:
        lines = [packet for packet in container.demux(subtitles=0) if packet.size]
    begins = []
    ends = []
    for line in lines:
        end = line.pts + line.duration
        begins.append(line.pts * line.time_base)
        ends.append(end * line.time_base)
    shift = Fraction(start, 25)
    # times of Matroska are whole milliseconds
    slack = Fraction(2, 1000)
    assert min(begins) <= slack
    for end, moment in zip(sorted(ends), (0.28, 0.30), strict=True):
        expected = Fraction(moment) - shift
        assert abs(end - expected) <= slack


LINES = (
    "1\n00:00:00,000 --> 00:00:00,100\none\n\n2\n00:00:00,080 --> 00:00:01,000\ntwo\n"
)


def test_a_subtitle_that_lasts_until_the_next_stays(
    upscale: Upscale, tmp_path: Path
) -> None:
    """Pictures of discs and broadcasts say no duration."""
    film = record(tmp_path / "film.mkv", "matroska", "libx264")
    (tmp_path / "lines.srt").write_text(LINES)
    source = tmp_path / "in.mkv"
    with (
        av.open(str(film)) as pictures,
        av.open(str(tmp_path / "lines.srt")) as words,
        av.open(str(source), "w") as output,
    ):
        inputs = [pictures.streams[0], words.streams[0]]
        tracks = [output.add_stream_from_template(stream) for stream in inputs]
        for stream, track in zip(inputs, tracks, strict=True):
            for packet in stream.container.demux(stream):
                if packet.size:
                    packet.stream = track
                    packet.duration = 0
                    output.mux(packet)
    words = ("--start", 4, "-o", tmp_path / "o.mkv")
    upscale("--video", source, *words).check_done()
    with av.open(str(tmp_path / "o.mkv")) as container:
        lines = [p for p in container.demux(subtitles=0) if p.size]
    assert [bytes(line) for line in lines] == [b"two"]
    assert lines[0].pts == 0


@pytest.mark.parametrize("size", ["192x256", "96x128"])
def test_a_size_is_as_seen(upscale: Upscale, tmp_path: Path, field, size: str) -> None:
    output = tmp_path / "o.mp4"
    words = ("--size", size, "-o", output, "--frames", 2)
    upscale("--video", field("phone_portrait.mp4"), *words).check_done()
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        aspect = stream.sample_aspect_ratio or Fraction(1)
        sides = [frame.width, frame.height]
        # Players turn it by a quarter: its sides change places.
        if frame.rotation % 180:
            sides.reverse()
    assert "x".join(map(str, sides)) == size
    assert aspect == 1


@pytest.mark.parametrize("rate", ["10", "50"])
def test_a_rate_for_a_video_is_refused_or_obeyed(
    upscale: Upscale, tmp_path: Path, rate: str
) -> None:
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=4)
    output = tmp_path / "o.mp4"
    words = ("--fps", rate, "-o", output)
    outcome = upscale("--video", source, *words)
    if outcome.status:
        outcome.check_refused("--fps", status=2)
    else:
        times = picture_times(output)
        step = times[1] - times[0]
        assert step == 1 / Fraction(rate)


def test_the_rate_of_a_folder_is_obeyed(upscale: Upscale, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        arrow().save(folder / f"{number}.png")
    output = tmp_path / "o.mp4"
    words = ("--fps", "50", "-o", output)
    upscale("--video", folder, *words).check_done()
    times = picture_times(output)
    tick = Fraction(1, 50)
    assert times == [0, tick, 2 * tick]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif", ".avif"])
def test_a_picture_gives_a_picture(upscale: Upscale, tmp_path: Path, suffix: str):
    source = tmp_path / f"in{suffix}"
    arrow().save(source)
    output = tmp_path / "o.png"
    upscale("--video", source, "-o", output).check_done()
    assert output.is_file()
    assert first_picture(output).shape == (192, 256, 3)
    assert difference(output) < FAR


def test_a_video_gives_no_single_picture(upscale: Upscale, tmp_path: Path) -> None:
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=4)
    output = tmp_path / "o.png"
    upscale("--video", source, "-o", output).check_refused(status=2)


@pytest.mark.parametrize("output", ["o.png", "o"])
def test_a_grid_of_tiles_is_one_picture_or_a_refusal(
    upscale: Upscale, tmp_path: Path, field, output: str
) -> None:
    target = tmp_path / output
    outcome = upscale("--video", field("grid_2x2.avif"), "-o", target, "--scale", 2)
    outcome.check_words()
    if outcome.status:
        outcome.check_refused("grid_2x2.avif", "tile")
        return
    path = target if target.is_file() else min(target.iterdir())
    picture = first_picture(path)
    assert picture.shape == (384, 512, 3)
    with Image.open(field("grid_2x2_original.png")) as original:
        large = original.convert("RGB").resize((512, 384))
    difference = np.abs(picture - np.asarray(large, float))
    # a tile in another's place differs by far more
    assert difference.mean() < 30


@pytest.mark.parametrize("form", ["reported", "made"])
def test_an_animated_picture_plays_or_is_named(
    upscale: Upscale, tmp_path: Path, field, form: str
) -> None:
    source = tmp_path / "in.webp"
    first, *rest = [arrow().rotate(90 * turns) for turns in range(4)]
    if form == "made":
        first.save(source, save_all=True, append_images=rest)
    else:
        shutil.copy(field("animated.webp"), source)
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_words()
    if outcome.status:
        outcome.check_refused("animated WebP")
    else:
        assert len(picture_times(output)) == 4


CROPS = {b"\x54\xaa": 8, b"\x54\xbb": 4, b"\x54\xcc": 6, b"\x54\xdd": 2}
"""Matroska's pixels to crop: bottom, top, left and right, by their identifiers."""
COLOUR, VOID = b"\x55\xb0", 0xEC


def with_crop(path: Path) -> Path:
    """A Matroska file whose crop fields stand where its colour tags would stand."""
    options = {"write_crc32": "0"}
    with av.open(str(path), "w", container_options=options) as output:
        video = output.add_stream("ffv1", rate=25)
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv420p"
        context = video.codec_context
        context.color_primaries = context.color_trc = context.colorspace = 1
        context.color_range = 1
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(moving(number))
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    data = path.read_bytes()
    place = data.index(COLOUR)
    size = 3 + (data[place + 2] & 0x7F)
    # 0x81: one byte follows
    fields = b"".join(name + b"\x81" + bytes([value]) for name, value in CROPS.items())
    # an element of nothing fills the rest, two bytes of which are its head
    rest = size - len(fields) - 2
    assert rest >= 0
    filler = bytes([VOID, 0x80 | rest]) + bytes(rest)
    end = place + size
    path.write_bytes(data[:place] + fields + filler + data[end:])
    return path


def test_a_crop_is_applied_or_told(upscale: Upscale, tmp_path: Path) -> None:
    source = with_crop(tmp_path / "in.mkv")
    output = tmp_path / "o.mp4"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    height = 48 - 8 - 4
    width = 64 - 6 - 2
    picture = first_picture(output)
    is_applied = picture.shape == (4 * height, 4 * width, 3)
    assert is_applied or "crop" in outcome.text


def test_sound_and_picture_of_everything_else_stay(upscale: Upscale, tmp_path: Path):
    """The plain case beside all these: nothing is told where nothing changes."""
    source = record(tmp_path / "in.mkv", "matroska", "libx264", "aac", count=4)
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert outcome.warnings == []
    assert kinds(output) == ["video h264", "audio aac"]
