"""Several inputs: planned as a whole, nothing done twice, nothing left undone."""

import shutil
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.attack.conftest import Upscale
from tests.attack.outcome import first_picture
from tests.attack.recordings import join, record


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small video."""
    folder = tmp_path_factory.mktemp("sample")
    return record(folder / "sample.mp4", "mp4", "libx264", count=2)


def place(sample: Path, *paths: Path) -> None:
    """Copies of the small video, each with bytes of its own."""
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True, parents=True)
        # a box that readers pass over, longer in each copy
        size = 8 + number
        box = size.to_bytes(4) + b"free" + bytes(number)
        path.write_bytes(sample.read_bytes() + box)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_two_inputs_never_share_an_output(
    upscale: Upscale, tmp_path: Path, sample: Path, overwrite: tuple[str, ...]
) -> None:
    """Refused before the start, or written under two names."""
    inputs = [tmp_path / "a/clip.mp4", tmp_path / "b/clip.mp4"]
    place(sample, *inputs)
    out = tmp_path / "out"
    out.mkdir()
    outcome = upscale("--video", *inputs, "-o", out, *overwrite)
    outcome.check_words()
    if outcome.status:
        outcome.check_refused("clip.mp4", status=2)
        assert names(out) == []
    else:
        assert len(names(out)) == 2


def test_the_same_file_twice_is_done_once(
    upscale: Upscale, tmp_path: Path, sample: Path
) -> None:
    place(sample, tmp_path / "a.mp4")
    out = tmp_path / "out"
    out.mkdir()
    outcome = upscale("--video", tmp_path / "a.mp4", tmp_path / "a.mp4", "-o", out)
    outcome.check_words()
    assert outcome.status == 2 or names(out) == ["a_x4.mp4"]


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_folder_twice_upscales_nothing_twice(
    upscale: Upscale, tmp_path: Path, sample: Path, overwrite: tuple[str, ...]
) -> None:
    """Outputs that lie beside the inputs are not inputs of the next run."""
    place(sample, tmp_path / "a.mp4", tmp_path / "b.mp4")
    expected = ["a.mp4", "a_x4.mp4", "b.mp4", "b_x4.mp4"]
    for _ in range(2):
        upscale("--video", tmp_path, *overwrite).check_done()
        assert names(tmp_path) == expected


def test_an_output_of_another_input_is_not_skipped(
    upscale: Upscale, tmp_path: Path, sample: Path
) -> None:
    """The file at the place of the output belongs to another source of that name."""
    one = tmp_path / "a/clip.mp4"
    other = tmp_path / "b/clip.mp4"
    third = tmp_path / "b/third.mp4"
    second = tmp_path / "a/second.mp4"
    place(sample, one, other, second, third)
    out = tmp_path / "out"
    out.mkdir()
    upscale("--video", one, second, "-o", out).check_done()
    output = out / "clip_x4.mp4"
    before = output.read_bytes()
    outcome = upscale("--video", other, third, "-o", out)
    outcome.check_words()
    assert output.read_bytes() == before
    if outcome.status:
        assert "clip" in outcome.errors[0]
    else:
        assert len(names(out)) == 4, outcome.text


def test_a_finished_input_is_skipped(upscale: Upscale, tmp_path: Path, sample: Path):
    place(sample, tmp_path / "a.mp4", tmp_path / "b.mp4")
    upscale("--video", tmp_path).check_done()
    outcome = upscale("--video", tmp_path)
    outcome.check_done()
    assert "2 skipped" in outcome.text


def test_a_film_with_a_cover_is_a_film(upscale: Upscale, tmp_path: Path, sample: Path):
    """A folder of films and their posters is a folder of films, or this is said."""
    place(sample, tmp_path / "a.mp4", tmp_path / "b.mp4")
    Image.new("RGB", (64, 48), "red").save(tmp_path / "cover.jpg")
    upscale("--video", tmp_path).check_done()
    assert {"a_x4.mp4", "b_x4.mp4"} <= set(names(tmp_path))


# Suffixes with the muxer that writes such files; FFmpeg knows some by content alone.
FORMATS = {
    ".mts": "mpegts",
    ".m2t": "mpegts",
    ".vob": "vob",
    ".mpe": "mpeg",
    ".m2v": "mpeg2video",
    ".wmv": "asf",
    ".asf": "asf",
    ".divx": "avi",
    ".3g2": "3g2",
    ".f4v": "flv",
    ".nut": "nut",
    ".mxf": "mxf",
    ".gif": "gif",
    ".qt": "mov",
    ".mk3d": "matroska",
    ".ogv": "ogg",
    ".TS": "mpegts",
}
CODECS = {
    "gif": "gif",
    "flv": "flv1",
    "asf": "wmv2",
    "ogg": "libvpx",
    "nut": "ffv1",
    "mpeg": "mpeg1video",
}
MPEG2 = {"mpegts", "vob", "mpeg2video", "mxf"}


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video in every format."""
    folder = tmp_path_factory.mktemp("formats")
    for suffix, muxer in FORMATS.items():
        codec = "mpeg2video" if muxer in MPEG2 else CODECS.get(muxer, "mpeg4")
        path = folder / f"{suffix[1:]}{suffix}"
        record_any(path, muxer, codec)
    return folder


def record_any(path: Path, muxer: str, codec: str) -> None:
    """Two pictures in a format, with the pixels that its codec takes."""
    with av.open(str(path), "w", format=muxer) as output:
        video = output.add_stream(codec, rate=25)
        video.width = 64
        video.height = 48
        video.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for number in range(2):
            blank = av.VideoFrame(64, 48, "yuv420p")
            frame = blank.reformat(format=video.pix_fmt)
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))


def test_every_video_of_a_folder_is_an_input(
    upscale: Upscale, tmp_path: Path, formats: Path
) -> None:
    """A dry listing is enough: one frame of each that the folder holds."""
    for path in formats.iterdir():
        shutil.copy(path, tmp_path / path.name)
    out = tmp_path / "out"
    out.mkdir()
    # One frame and a small output: seventeen files are upscaled.
    outcome = upscale("--video", tmp_path, "-o", out, "--frames", 1, "--scale", 2)
    stems = {name.partition("_x2")[0] for name in names(out)}
    assert stems == {suffix[1:] for suffix in FORMATS}, outcome.text


def test_prepare_knows_the_same_videos(formats: Path, tmp_path: Path) -> None:
    from train.datasets.video_folder import VideoFolder

    folder = VideoFolder.__new__(VideoFolder)  # a builder would write a data set
    folder.source = formats
    assert len(folder.list_items()) == len(FORMATS)


def test_subfolders_are_told_or_done(upscale: Upscale, tmp_path: Path, sample: Path):
    place(sample, tmp_path / "in/a.mp4", tmp_path / "in/season 1/b.mp4")
    out = tmp_path / "out"
    out.mkdir()
    words = ("--video", tmp_path / "in", "-o", out)
    outcome = upscale(*words)
    outcome.check_done()
    assert "--recursive" in outcome.text
    assert names(out) == ["a_x4.mp4"]
    upscale(*words, "--recursive").check_done()
    outputs = [p.name for p in out.rglob("*.mp4")]
    assert sorted(outputs) == ["a_x4.mp4", "b_x4.mp4"]


def test_a_bad_input_does_not_stop_the_rest(
    upscale: Upscale, tmp_path: Path, sample: Path
) -> None:
    place(sample, tmp_path / "a.mp4", tmp_path / "c.mp4")
    (tmp_path / "b.mp4").write_bytes(b"not a video at all")
    out = tmp_path / "out"
    out.mkdir()
    files = [tmp_path / f"{name}.mp4" for name in "abc"]
    outcome = upscale("--video", *files, "-o", out)
    assert outcome.status == 1, outcome.text
    assert names(out) == ["a_x4.mp4", "c_x4.mp4"]
    assert "b.mp4" in "".join(outcome.errors)


@pytest.mark.parametrize("suffix", [".tga", ".ppm", ".jp2", ".avif", ".png", ".webp"])
def test_folders_of_every_picture_format(
    upscale: Upscale, tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(2):
        picture = Image.new("RGB", (64, 48), (40, 90 + 60 * number, 200))
        save_picture(picture, folder / f"{number}{suffix}")
    output = tmp_path / "o"
    upscale("--video", folder, "-o", output).check_done()
    assert names(output) == ["0.png", "1.png"]
    means = first_picture(output / "0.png").mean((0, 1))
    difference = abs(means - (40, 90, 200))
    # random weights keep the mean of a plain picture; lossy formats add a level or two
    assert difference.max() < 25


def save_picture(picture: Image.Image, path: Path) -> None:
    try:
        picture.save(path)
    except (OSError, ValueError, KeyError):
        pytest.skip(f"this Pillow does not write {path.suffix}")


def test_joined_inputs_are_one_film(upscale: Upscale, tmp_path: Path, sample: Path):
    """A batch of parts is not a joined recording: each keeps its own clock."""
    parts = [tmp_path / "1.ts", tmp_path / "2.ts"]
    for part in parts:
        record(part, "mpegts", "mpeg2video", count=3)
    join(tmp_path / "both.ts", *parts)
    out = tmp_path / "out"
    out.mkdir()
    upscale("--video", *parts, "-o", out).check_done()
    assert len(names(out)) == 2
