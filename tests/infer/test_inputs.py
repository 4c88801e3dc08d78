"""Which inputs a folder stands for, and which of them a batch does."""

import os
from pathlib import Path

import pytest
from clips import make_video

from infer.command.batch import plan_batch
from infer.command.inputs import check_kind, find_inputs
from infer.jobs.finished import is_output, is_output_of, remember
from infer.options import parse
from infer.sources.probe import probe
from sdvsr_jax.video_names import VIDEO_SUFFIXES


def names(folder: Path, recursive: bool = False) -> list[str]:
    """The inputs of a folder, relative to it."""
    inputs = find_inputs([str(folder)], recursive)
    return [os.path.relpath(item.path, folder) for item in inputs]


def touch(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_every_video_suffix_is_seen_in_any_case(tmp_path, suffix):
    # Names of files that systems hide are left out.
    expected = [f"a{suffix}", f"b{suffix.upper()}"]
    touch(tmp_path, *expected, f".hidden{suffix}", "c.txt")
    assert names(tmp_path) == expected


def test_films_with_cover_pictures_are_films(tmp_path, capsys):
    touch(tmp_path, "a.mkv", "b.mkv", "cover.jpg", "poster1.png")
    assert names(tmp_path) == ["a.mkv", "b.mkv"]
    assert "left out: 2 images beside videos" in capsys.readouterr().err


def test_frames_with_a_preview_are_frames(tmp_path, capsys):
    # Many pictures beside one video are its frames; two beside videos are covers.
    frames = [f"{number:03d}.png" for number in range(30)]
    touch(tmp_path, "preview.mp4", *frames)
    assert names(tmp_path) == ["."]
    assert "left out: 1 videos beside frames" in capsys.readouterr().err


def test_subfolders_are_told_or_looked_into(tmp_path, capsys):
    touch(tmp_path, "a.mkv", "season 1/b.mkv", "season 1/extra/c.mkv", "frames/1.png")
    assert names(tmp_path) == ["a.mkv"]
    assert "--recursive looks into them" in capsys.readouterr().err
    assert sorted(names(tmp_path, recursive=True)) == [
        "a.mkv",
        "frames",
        "season 1/b.mkv",
        "season 1/extra/c.mkv",
    ]


def test_a_folder_of_folders_alone_is_refused_with_the_option(tmp_path):
    touch(tmp_path, "season 1/b.mkv")
    with pytest.raises(ValueError, match="give --recursive"):
        names(tmp_path)


def test_a_named_pipe_is_told_at_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"is a named pipe.*--video -"):
        check_kind(str(pipe))


@pytest.fixture
def batch(tmp_path):
    """Plans a batch; returns the names of its inputs and outputs."""

    def plan(*words: object) -> dict[str, str]:
        options = parse([str(word) for word in words])
        entries = plan_batch(options, find_inputs(options.video, options.recursive))
        return {
            os.path.relpath(entry.path, tmp_path): os.path.relpath(
                entry.output or ".", tmp_path
            )
            for entry in entries
        }

    return plan


def test_two_inputs_with_one_output_are_refused(tmp_path, batch):
    out = tmp_path / "out"
    out.mkdir()
    clips = [tmp_path / "a/clip.mp4", tmp_path / "b/clip.mp4"]
    for clip in clips:
        clip.parent.mkdir()
        make_video(str(clip), range(2), (16, 16))
    with pytest.raises(ValueError, match=r"would both become .*out/clip_x4.mp4"):
        batch("--video", *clips, "-o", out)
    assert batch("--video", *clips) == {
        "a/clip.mp4": "a/clip_x4.mp4",
        "b/clip.mp4": "b/clip_x4.mp4",
    }


def test_outputs_of_the_batch_are_none_of_its_inputs(tmp_path, batch, capsys):
    for name in ("a.mp4", "a_x4.mp4", "a_x4_x4.mp4"):
        make_video(str(tmp_path / name), range(2), (16, 16))
    assert batch("--video", tmp_path) == {"a.mp4": "a_x4.mp4"}
    stderr = capsys.readouterr().err
    source = tmp_path / "a.mp4"
    output = tmp_path / "a_x4.mp4"
    assert f"{output} is the output of {source}" in stderr


def test_outputs_of_earlier_jobs_with_other_options_are_left_out(tmp_path, batch):
    for name in ("a.mp4", "a_x2.mp4"):
        make_video(str(tmp_path / name), range(2), (16, 16))
    output = str(tmp_path / "a_x2.mp4")
    assert set(batch("--video", tmp_path)) == {"a.mp4", "a_x2.mp4"}
    remember(output, probe(str(tmp_path / "a.mp4")))
    assert batch("--video", tmp_path) == {"a.mp4": "a_x4.mp4"}
    # Named by the user it is an input like others.
    assert set(batch("--video", tmp_path / "a.mp4", output)) == {"a.mp4", "a_x2.mp4"}


def test_results_of_subfolders_keep_their_places(tmp_path, batch):
    (tmp_path / "in/season 1").mkdir(parents=True)
    output = tmp_path / "out"
    output.mkdir()
    for name in ("in/a.mp4", "in/season 1/a.mp4"):
        make_video(str(tmp_path / name), range(2), (16, 16))
    source = tmp_path / "in"
    words = ("--video", source, "-o", output, "--recursive")
    assert batch(*words) == {
        "in/a.mp4": "out/a_x4.mp4",
        "in/season 1/a.mp4": "out/season 1/a_x4.mp4",
    }


def test_an_output_is_known_until_it_or_its_input_changes(tmp_path):
    source = tmp_path / "in.mp4"
    output = tmp_path / "out.mp4"
    make_video(str(source), range(2), (16, 16))
    output.write_bytes(b"result")
    info = probe(str(source))
    assert not is_output(str(output))
    remember(str(output), info)
    assert is_output_of(str(output), info)
    # Another video of the same name: its output is somebody's work still, but not its
    # own.
    make_video(str(source), range(3), (16, 16))
    assert not is_output_of(str(output), info)
    assert is_output(str(output))
    output.write_bytes(b"changed by somebody")
    assert not is_output(str(output))


def test_without_a_home_nothing_is_remembered_and_nothing_fails(tmp_path, monkeypatch):
    file = tmp_path / "file"
    monkeypatch.setenv("XDG_CACHE_HOME", str(file / "cache"))
    file.touch()
    source = make_video(str(tmp_path / "in.mp4"), range(2), (16, 16))
    remember(source, probe(source))
    assert not is_output(source)
