"""Tags, sound and chapters of a file are kept where the container can, and losses are
told before the job.
"""

from fractions import Fraction

import av
import pytest
from av.stream import Disposition
from clips import make_rich, make_video, png
from test_join import copy_through

from infer.__main__ import main
from infer.jobs.plan import make_plan
from infer.options import parse
from infer.sources.info import ColorTags
from infer.sources.probe import probe
from infer.tags import authored_tags, missing_tags


@pytest.fixture(scope="module")
def rich(tmp_path_factory) -> str:
    return make_rich(str(tmp_path_factory.mktemp("rich") / "rich.mkv"))


def notes_for(path: str, output: object, *arguments: str) -> str:
    """The messages before the start."""
    words = ["--video", path, "-o", str(output), "--drop-streams", *arguments]
    return "\n".join(make_plan(parse(words), path, str(output)).notes)


def test_matroska_keeps_everything(rich, tmp_path):
    assert notes_for(rich, tmp_path / "new.mkv") == ""
    output, failures, checks = copy_through(rich, tmp_path, "matroska")
    assert failures == []
    assert {
        "video metadata",
        "video roles",
        "audio 1 roles",
        "subtitle 2 metadata",
        "attachment 3",
        "cover 4",
    } <= {c.name for c in checks}
    with av.open(output) as container:
        video, sound, subtitle, font, cover = container.streams
        assert video.metadata["TIMECODE"] == "01:00:00:00"
        assert video.metadata["title"] == "view"
        assert [s.metadata["language"] for s in (video, sound, subtitle)] == [
            "ger",
            "eng",
            "pt-BR",
        ]
        assert video.disposition == Disposition.default | Disposition.original
        assert sound.disposition == Disposition.comment
        assert subtitle.disposition == Disposition.forced
        assert font.metadata["filename"] == "font.ttf"
        assert font.data == b"not really a font"
        assert bytes(next(p for p in container.demux(cover) if p.size)) == png()
        # Matroska writes the names of tags in capitals, but for the title's.
        assert container.chapters()[0]["metadata"] == {"title": "one", "ARTIST": "she"}


@pytest.mark.parametrize("muxer", ["mp4", "mov"])
def test_what_is_told_before_is_what_is_missing_after(rich, tmp_path, muxer):
    announcement = notes_for(rich, tmp_path / f"new.{muxer}")
    _, _, checks = copy_through(rich, tmp_path, muxer)
    absent = [c.loss for c in checks if not c.ok]
    assert "chapters (ARTIST)" in absent
    assert "video roles (original)" in absent
    assert ": .mkv can" in announcement
    assert "subtitle stream 2 (subrip), attachment stream 3 (font.ttf)" in announcement
    assert ("audio 1 roles (comment): .mp4 or .mkv can" in announcement) == (
        muxer == "mov"
    )
    for loss in absent:
        assert loss in announcement
    told_of = [
        line
        for line in announcement.splitlines()
        if line.startswith(f".{muxer} cannot hold ")
    ]
    assert sum(line.count(";") + 1 for line in told_of) == len(absent)


def test_metadata_of_any_name_survives_in_mp4_where_no_cover_is_in_the_way(tmp_path):
    source = make_rich(str(tmp_path / "in.mkv"), covers=False)
    output, failures, _ = copy_through(source, tmp_path, "mp4")
    assert [f for f in failures if f.startswith("metadata")] == []
    assert probe(output).metadata["MY_KEY"] == "own"
    info = probe(output)
    assert info.stream_metadata == {
        "language": "ger",
        "title": "view",
        "timecode": "01:00:00:00",
    }
    again, failures, _ = copy_through(output, tmp_path, "matroska")
    assert failures == []
    assert probe(again).stream_metadata["TIMECODE"] == "01:00:00:00"


def test_a_cover_goes_from_mp4_to_matroska(rich, tmp_path):
    output, _, _ = copy_through(rich, tmp_path, "mp4")
    # The next copy has the name out.mkv, and its folder the same one.
    (tmp_path / "out.mp4").rename(tmp_path / "in.mp4")
    source = str(tmp_path / "in.mp4")
    output, failures, _ = copy_through(source, tmp_path, "matroska")
    assert failures == []
    kinds = [s.kind for s in probe(output).others]
    assert kinds == ["audio", "cover"]
    assert "left out, because .mov cannot hold it: cover stream 4" in notes_for(
        source, tmp_path / "x.mov"
    )


def test_a_part_keeps_the_cover_and_not_the_time_code(rich, tmp_path):
    output, failures, _ = copy_through(rich, tmp_path, "matroska", start=5)
    assert failures == []
    kinds = [s.kind for s in probe(output).others]
    assert kinds == [
        "audio",
        "subtitle",
        "attachment",
        "cover",
    ]
    plan = make_plan(parse(["--video", rich, "--start", "5"]), rich)
    assert plan.info.stream_metadata == {"language": "ger", "title": "view"}
    assert any(note.startswith("left out: the time code") for note in plan.notes)


def test_refusals_name_the_container_that_can(rich, tmp_path, capsys):
    output = str(tmp_path / "out.mp4")
    status = main(
        [
            "--video",
            rich,
            "-o",
            output,
            "--model",
            "there is none",
        ]
    )
    assert status == 2
    stderr = capsys.readouterr().err
    streams = "subtitle stream 2 (subrip), attachment stream 3 (font.ttf)"
    assert f"{streams}: use .mkv, or --drop-streams" in stderr


def test_a_live_session_tells_what_it_leaves_out(rich, tiny_model, tmp_path, capsys):
    output = str(tmp_path / "out.ts")
    status = main(
        [
            "--video",
            rich,
            "-o",
            output,
            "--model",
            tiny_model,
            "--frames",
            "2",
        ]
    )
    assert status == 0
    stderr = capsys.readouterr().err
    streams = "subtitle stream 2 (subrip), attachment stream 3 (font.ttf)"
    assert (
        f"note     left out: {streams}, cover stream 4 (png), chapters, metadata\n"
        in stderr
    )
    assert "sound is copied" in stderr


def test_clocks_that_matroska_rounds_are_told(tmp_path):
    source = str(tmp_path / "in.mp4")
    ticks = make_video(source, [0, 1500, 4501, 6000], base=Fraction(1, 90000))
    output = tmp_path / "out.mkv"
    assert "exact timestamps (it counts in 1/1000 s): .mp4 or .mov can" in notes_for(
        ticks, output
    )
    # Rounded already when it was made: nothing more is lost.
    rounded = make_video(
        str(tmp_path / "in.mkv"), [0, 1500, 4501, 6000], base=Fraction(1, 90000)
    )
    for harmless in (rounded, make_video(str(tmp_path / "25.mp4"))):
        assert "timestamps" not in notes_for(harmless, output)


def test_hdr_that_a_codec_cannot_say_is_told(tmp_path):
    # The brightest pixel and the brightest mean of a frame, in candelas.
    params = "log-level=none:max-cll=1000,400"
    source = make_video(
        str(tmp_path / "in.mp4"),
        codec="libx265",
        pixel_format="yuv420p10le",
        size=(64, 64),
        options={"x265-params": params},
    )
    assert "HDR metadata" not in notes_for(source, tmp_path / "out.mp4")
    output = tmp_path / "out.mkv"
    assert "cannot hold HDR metadata, nor can" in notes_for(
        source, output, "--codec", "ffv1"
    )


@pytest.mark.parametrize("encoder", ["prores_ks", "libsvtav1"])
def test_colours_and_hdr_survive_in_codecs_with_other_steps(tmp_path, encoder):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    params = f"log-level=none:master-display={display}:max-cll=1000,400"
    source = make_video(
        str(tmp_path / "in.mp4"),
        codec="libx265",
        pixel_format="yuv420p10le",
        size=(64, 64),
        color=ColorTags(9, 16, 9, 1),
        options={"x265-params": params},
    )
    # Chroma that each takes at 10 bits.
    layout = {"prores_ks": "yuv422p10le", "libsvtav1": "yuv420p10le"}[encoder]
    output, failures, _ = copy_through(
        source, tmp_path, "matroska", encoder=encoder, pixel_format=layout, preset=None
    )
    assert probe(output).color == ColorTags(9, 16, 9, 1)
    assert [text[:12] for text in failures] == (
        ["HDR metadata"] if encoder == "prores_ks" else []
    )


def test_words_that_only_look_different_are_not_lost():
    # Containers change the case of names, their blanks, and the digits of places.
    expected = {"ARTIST": "me", "my key": "1", "location": "+48.8577+002.295/"}
    assert (
        missing_tags(
            expected,
            {
                "artist": "me",
                "MY_KEY": "1",
                "location": "+48.8577+002.2950/",
                "more": "x",
            },
        )
        == []
    )
    assert missing_tags(
        expected, {"artist": "you", "location": "+48.8677+002.2950/"}
    ) == [
        "ARTIST",
        "location",
        "my key",
    ]
    assert authored_tags(
        {
            "encoder": "x",
            "BPS-eng": "1",
            "title": "a",
            "title-eng": "a",
            "language": "und",
        }
    ) == {"title": "a"}


def test_names_of_one_particular_file_are_not_carried_over():
    # Of packages, tracks and recordings: of another file they would be lies.
    identifiers = {
        "uid": "1",
        "material_package_umid": "0x06",
        "generation_uid": "2",
        "WM/MediaClassPrimaryID": "{0}",
        "com.apple.quicktime.content.identifier": "A",
        "UUID": "3",
    }
    assert authored_tags({**identifiers, "liquid": "water"}) == {"liquid": "water"}
    assert missing_tags(authored_tags(identifiers), {}) == []
