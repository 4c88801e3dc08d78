"""Films for motion: the frames, the times and the shape of the clips they copy."""

from pathlib import Path

import numpy as np
import pytest

from infer.sources.files import read_frames
from infer.sources.info import ColorTags
from infer.sources.probe import probe
from infer.ui import film_worker, pictures
from infer.ui.clips import Reader, describe
from infer.ui.films import KEPT, Films
from infer.ui.server import file_state
from tests.infer.clips import make_video, real_pictures
from tests.ui.conftest import wait_until

VARIABLE = (0, 1, 2, 5, 6, 11, 12, 13, 20, 21, 22, 40)
"""Ticks of 1/25 s."""
ONE = 1 << 16
TURNED = (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30)
"""A display matrix: 90 degrees clockwise."""


def film_of(path: str) -> str:
    """The film beside a file."""
    target = f"{path}.film.mp4"
    film_worker.write_film(probe(path), target, f"{path}.count")
    return target


def psnr_of(one: np.ndarray, other: np.ndarray) -> float:
    return pictures.psnr(one, other) or 99.0


def test_a_film_has_the_frames_and_the_times_of_what_it_copies(tmp_path: Path) -> None:
    frames = real_pictures(12, 64, 48)
    path = str(tmp_path / "a.mkv")
    make_video(path, VARIABLE, (64, 48), codec="ffv1", frames=frames)
    film = film_of(path)
    seconds = Reader(film).seconds
    # the film keeps the ticks of its source
    np.testing.assert_allclose(seconds, Reader(path).seconds, atol=1e-6)
    film_frames = [frame.rgb for frame in read_frames(probe(film))]
    assert len(film_frames) == 12
    for film_frame, frame in zip(film_frames, frames):
        # 4:2:0 of small, busy pictures; the next frame is below 25 dB
        assert psnr_of(film_frame, frame) > 34
    assert Path(f"{path}.count").read_text("ascii") == "12"


def test_a_turned_clip_of_odd_size_becomes_upright_and_even(tmp_path: Path) -> None:
    frames = real_pictures(2, 63, 47)
    path = str(tmp_path / "a.mov")
    options = {"crf": "0"}
    make_video(
        path,
        range(2),
        (63, 47),
        frames=frames,
        matrix=TURNED,
        pixel_format="yuv444p",
        options=options,
    )
    assert describe(probe(path)).rotation == 90
    info = probe(film_of(path))
    assert (info.width, info.height) == (48, 64)
    assert info.display_matrix is None
    upright = np.rot90(frames[0], -1)
    film_frame = next(read_frames(info)).rgb
    expected = pictures.bicubic(np.ascontiguousarray(upright), (48, 64))
    # enlarged by a pixel, and 4:2:0 as above
    assert psnr_of(film_frame, expected) > 30


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_pictures_are_turned_as_players_turn_them(
    rotation: int, mirrored: bool
) -> None:
    one = np.arange(6).reshape(2, 3, 1)
    picture = film_worker.turn(one, rotation, mirrored)
    # the top left pixel goes to the corner that players show it in
    corners = {0: (0, 0), 90: (0, -1), 180: (-1, -1), 270: (-1, 0)}
    top_left = one[0, -1] if mirrored else one[0, 0]
    assert picture[corners[rotation]] == top_left


def test_an_hdr_clip_becomes_the_picture_of_the_paused_view(tmp_path: Path) -> None:
    frames = real_pictures(2, 64, 48)
    path = str(tmp_path / "a.mp4")
    make_video(
        path,
        range(2),
        (64, 48),
        codec="libx265",
        pixel_format="yuv420p10le",
        color=ColorTags(9, 16, 9, 1),
        frames=frames,
    )
    assert describe(probe(path)).hdr == "PQ"
    film = film_of(path)
    deep = Reader(path).rgb(1)
    film_frame = Reader(film).rgb(1)
    still = pictures.tone_map(deep, "PQ")
    # few pixels of saturated colours, in 4:2:0
    assert psnr_of(film_frame, still) > 27
    # the same numbers without their meaning: another picture
    untouched = pictures.to_8_bit(deep)
    assert psnr_of(film_frame, untouched) < 20
    assert describe(probe(film)).hdr == ""


def test_large_pictures_are_made_smaller() -> None:
    clip = describe(probe(str(Path("examples") / "nasa_320x180.mp4")))
    large = clip.model_copy(update={"width": 7680, "height": 4320, "rotation": 90})
    assert film_worker.film_size(large) == (1440, 2560)


@pytest.mark.heavy(6)
def test_films_are_made_once_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    path = make_video(str(tmp_path / "a.mkv"), codec="ffv1")
    bad = tmp_path / "bad.mkv"
    bad.write_bytes(b"no video at all" * 100)
    folder = tmp_path / "films"
    films = Films(folder, 0)
    try:
        state = file_state(path)
        assert films.want(path, state, 6).state == "working"
        result = wait_until(
            lambda: films.want(path, state, 6), lambda film: film.state != "working"
        )
        assert result.state == "ready"
        assert probe(str(films.path_of(path, state))).num_frames == 6
        for number in range(KEPT):
            (folder / f"{number}.mp4").write_bytes(b"a film")
        wrong = file_state(str(bad))
        failed = wait_until(
            lambda: films.want(str(bad), wrong, 6), lambda film: film.state != "working"
        )
        assert failed.state == "failed"
        assert len(list(folder.iterdir())) == KEPT - 1
    finally:
        films.end()
    # what an earlier server left unfinished is removed
    (folder / "a.mp4.count").write_text("3")
    Films(folder, 0)
    assert not (folder / "a.mp4.count").exists()
