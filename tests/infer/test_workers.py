"""Whoever does a group of frames, and in which order: the output has the bytes of a
run without workers.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import SCENE_SIZE as SIZE
from clips import clip_of, make_video, pictures, scenes
from crews import Crew

from infer.cluster import drive as driver
from infer.cluster import worker
from infer.cluster.drive import Job, drive
from infer.cluster.spans import Film
from infer.console import Clock
from infer.errors import JobError
from infer.jobs import fingerprint
from infer.jobs.plan import make_plan
from infer.jobs.work_folder import folder_of
from infer.model.layout import Layout, Whole
from infer.options import parse


def fade(length: int) -> list[np.ndarray]:
    first, last = scenes(1, 1)
    frames = []
    for share in np.linspace(0, 1, length):
        mixture = (1 - share) * first + share * last
        frames.append(mixture.astype(np.uint8))
    return frames


def flash(length: int) -> list[np.ndarray]:
    frames = scenes(length)
    # A white frame in the middle, which is no cut of two scenes.
    frames[length // 2] = np.full_like(frames[0], 255)
    return frames


CLIPS: dict[str, tuple[list[np.ndarray], tuple[str, ...]]] = {
    "cuts": (scenes(5, 9, 4, 3), ()),
    "one-frame scenes": (scenes(*[1] * 11), ()),
    "no cut": (scenes(17), ()),
    "fade": (fade(16), ()),
    "flash": (flash(13), ()),
    # Out of order, and one behind the end.
    "chosen cuts": (scenes(17), ("--cut-at", "7", "4", "300")),
    "part": (scenes(6, 6, 6), ("--start", "3", "--frames", "11")),
    "tiles": (scenes(4, 5, 4), ("--tile", "16")),
    "deinterlaced": (scenes(5, 9), ("--deinterlace",)),
    "half size": (scenes(5, 9), ("--scale", "2")),
}
QUICK = ("cuts", "no cut", "chosen cuts")
"""Those of the default run."""


def heavy(*values: object) -> list[Any]:
    mark = pytest.mark.heavy(10)
    return [pytest.param(value, marks=mark) for value in values]


def cases() -> list[Any]:
    rest = [name for name in CLIPS if name not in QUICK]
    return [*QUICK, *heavy(*rest)]


# With B-frames and without, lossless, for editing, and AV1.
CODECS = ("libx264", "libx265", "ffv1", "prores_ks", "libsvtav1")


@pytest.fixture
def share(cutting_model: str, tmp_path: Path) -> Callable[..., Path]:
    """Does a job by a crew in this process; returns the output."""

    def call(
        crew: Crew,
        *words: object,
        output: str = "shared.mkv",
        model: str = cutting_model,
    ) -> Path:
        target = tmp_path / output
        text = [str(word) for word in words]
        text += ["-o", str(target), "--model", model]
        text += ["--workers", str(len(crew.hands))]
        options = parse(text)
        plan = make_plan(options, options.video[0], options.output)
        clock = Clock(plan.expected_frames)
        job = Job(options, plan, lambda report: None, clock)
        try:
            drive(crew, [job])  # type: ignore[arg-type]
        finally:
            crew.close()
        if job.error is not None:
            raise job.error
        return target

    return call


@pytest.mark.parametrize("name", cases())
def test_shared_work_has_the_bytes_of_a_single_run(
    name, share, upscale, tmp_path, cutting_model
):
    frames, words = CLIPS[name]
    source = clip_of(tmp_path / "in.mkv", frames)
    words = ("--video", source, "--segment", 3, *words)
    single = tmp_path / "alone.mkv"
    status, stderr = upscale(*words, "-o", single, model=cutting_model)
    assert status == 0, stderr
    for seed, count in enumerate((1, 3)):
        crew = Crew(count, seed)
        shared = share(crew, *words, output=f"{count}.mkv")
        assert shared.read_bytes() == single.read_bytes()
        assert not folder_of(str(shared)).exists()


@pytest.mark.heavy(30)
@pytest.mark.parametrize("degree", ["0", "auto"])
@pytest.mark.parametrize("tile", ["off", "16"])
def test_workers_begin_at_cuts_of_repaired_frames(
    degree, tile, share, upscale, tmp_path, repairing_model, films
):
    source = clip_of(tmp_path / "in.mkv", CLIPS["cuts"][0])
    words = ("--video", source, "--segment", 3, "--restore", degree, "--tile", tile)
    single = tmp_path / "alone.mkv"
    status, stderr = upscale(*words, "-o", single, model=repairing_model)
    assert status == 0, stderr
    shared = share(Crew(3), *words, model=repairing_model)
    assert shared.read_bytes() == single.read_bytes()
    cuts = [film.cuts for film in films]
    assert cuts == [(0, 5, 14, 18)]


@pytest.mark.parametrize("seed", [0, *heavy(1, 2, 3)])
def test_a_cut_that_was_none_costs_work_and_no_bytes(
    seed, share, upscale, tmp_path, cutting_model, monkeypatch, capsys
):
    # As if the first pass took every frame for a cut.
    monkeypatch.setattr(worker, "CLEAR", 100.0)
    source = clip_of(tmp_path / "in.mkv", scenes(7, 8, 4))
    words = ("--video", source, "--segment", 2)
    single = tmp_path / "alone.mkv"
    status, stderr = upscale(*words, "-o", single, model=cutting_model)
    assert status == 0, stderr
    crew = Crew(3, seed)
    shared = share(crew, *words)
    assert shared.read_bytes() == single.read_bytes()
    assert "done again: no cut was before them" in capsys.readouterr().err
    # 19 frames are ten groups: some are done twice, and not all of them
    assert 10 < crew.num_groups < 20


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> list[Film]:
    """The films that the driver has described before it shared them."""
    films: list[Film] = []
    real = driver.describe

    def describe(film: Film, *rest: Any) -> Any:
        films.append(film)
        return real(film, *rest)

    monkeypatch.setattr(driver, "describe", describe)
    return films


def test_cuts_are_found_where_the_step_forgets(share, tmp_path, films):
    source = clip_of(tmp_path / "in.mkv", CLIPS["cuts"][0])
    words = ("--video", source, "--segment", 3)
    for count in (1, 3):
        share(Crew(count), *words, output=f"{count}.mkv")
    cuts = [film.cuts for film in films]
    assert cuts == [(0, 5, 14, 18)] * 2


def test_workers_load_a_video_at_the_same_time_and_fit_frames_as_the_first(
    share, upscale, tmp_path, cutting_model
):
    source = clip_of(tmp_path / "in.mkv", CLIPS["cuts"][0])
    words = ("--video", source, "--segment", 3)
    single = tmp_path / "alone.mkv"
    status, _ = upscale(*words, "-o", single, model=cutting_model)
    assert status == 0
    layouts: list[list[Layout | None]] = []

    class Uneven(Crew):
        """The second worker would have tiles: it has less memory."""

        def answers(self, seconds):
            busy = [hand for hand in self.hands if hand.call is not None]
            calls = [hand.call for hand in busy if hand.call.kind == "take"]
            layouts.append([call.subject for call in calls])
            is_first = len(layouts) == 1
            hand = busy[0] if is_first else busy[-1]
            yield from self.answer_of(hand)

        def _answer(self, hand, method, arguments):
            answer = super()._answer(hand, method, arguments)
            if hand is self.hands[0] or method != "take":
                return answer
            layout = arguments[-1]
            if layout is not None:
                return answer
            return answer._replace(identity={**answer.identity, "fit": "16x16"})

    shared = share(Uneven(2), *words)
    assert shared.read_bytes() == single.read_bytes()
    # both choose, then the second alone, and at last it is told the first one's
    assert layouts[:3] == [[None, None], [None], [Whole()]]


@pytest.mark.heavy(20)
@pytest.mark.parametrize("codec", CODECS)
def test_any_codec(codec, share, upscale, tmp_path, cutting_model):
    source = clip_of(tmp_path / "in.mkv", scenes(4, 4, 4))
    suffix = ".mov" if codec == "prores_ks" else ".mkv"
    words = ("--video", source, "--segment", 3, "--codec", codec)
    single = tmp_path / f"alone{suffix}"
    status, stderr = upscale(*words, "-o", single, model=cutting_model)
    assert status == 0, stderr
    shared = share(Crew(3), *words, output=f"shared{suffix}")
    assert shared.read_bytes() == single.read_bytes()


@pytest.mark.heavy(20)
def test_pictures_and_a_variable_rate(share, upscale, tmp_path, cutting_model):
    pts = (0, 3, 4, 9, 10, 11, 17, 20, 21)
    source = make_video(
        str(tmp_path / "in.mkv"),
        pts,
        SIZE,
        Fraction(1, 50),
        "ffv1",
        "bgr0",
        frames=scenes(4, 5),
        audio="aac",
    )
    words = ("--video", source, "--segment", 2)
    for output in ("frames", "film.mkv"):
        single = tmp_path / f"alone_{output}"
        status, stderr = upscale(*words, "-o", single, model=cutting_model)
        assert status == 0, stderr
        shared = share(Crew(2), *words, output=output)
        if output == "film.mkv":
            assert shared.read_bytes() == single.read_bytes()
            continue
        for number in range(len(pts)):
            name = f"{number:08d}.png"
            assert (shared / name).read_bytes() == (single / name).read_bytes()


@pytest.mark.heavy(20)
def test_workers_that_see_no_file_get_it_sent(
    share, upscale, tmp_path, cutting_model, monkeypatch
):
    # As Ray does with references: here parts are bytes.
    monkeypatch.setattr(driver, "content_of", parts_of)
    # A clip counts as a big file, whose time of change is part of its identity: it must
    # be sent, too.
    monkeypatch.setattr(fingerprint, "WHOLE", 1000)
    monkeypatch.setattr(fingerprint, "SAMPLE", 100)
    source = clip_of(tmp_path / "in.mkv", CLIPS["cuts"][0])
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, rgb in enumerate(pictures(5, *SIZE)):
        write_png(folder / f"{number}.png", rgb)
    for path in (source, folder):
        words = ("--video", path, "--segment", 3)
        stem = Path(path).stem
        single = tmp_path / f"alone_{stem}.mkv"
        status, stderr = upscale(*words, "-o", single, model=cutting_model)
        assert status == 0, stderr
        # the video has the name in.mkv already
        name = f"{stem}.mkv" if path == folder else "sent.mkv"
        crew = Crew(2, blind=True)
        shared = share(crew, *words, output=name)
        assert shared.read_bytes() == single.read_bytes()


def parts_of(paths: list[str]) -> Any:
    # small, so that a clip has several
    size = 1000
    for path in map(Path, paths):
        content = path.read_bytes()
        for start in range(0, len(content), size):
            part = content[start : start + size]
            yield path.name, part, path.stat().st_mtime_ns


def write_png(path: Path, rgb: np.ndarray) -> None:
    with av.open(str(path), "w", format="image2") as output:
        stream = output.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "rgb24"
        frame = av.VideoFrame.from_ndarray(rgb)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@pytest.mark.parametrize("seed", [0, *heavy(1, 2, 3)])
def test_workers_may_die_at_any_moment(seed, share, upscale, tmp_path, cutting_model):
    source = clip_of(tmp_path / "in.mkv", CLIPS["cuts"][0])
    words = ("--video", source, "--segment", 2)
    single = tmp_path / "alone.mkv"
    status, stderr = upscale(*words, "-o", single, model=cutting_model)
    assert status == 0, stderr
    shared = share(Crew(3, seed, deaths=5), *words)
    assert shared.read_bytes() == single.read_bytes()


class Killed(BaseException):
    """Stands for SIGKILL of the driver."""


@pytest.mark.parametrize("count", [3, *heavy(1)])
@pytest.mark.parametrize("limit", [3, *heavy(1, 6)])
def test_a_killed_driver_goes_on_without_doing_a_group_twice(
    count, limit, share, upscale, tmp_path, cutting_model
):
    source = clip_of(tmp_path / "in.mkv", CLIPS["cuts"][0])
    words = ("--video", source, "--segment", 2)
    single = tmp_path / "alone.mkv"
    status, stderr = upscale(*words, "-o", single, model=cutting_model)
    assert status == 0, stderr

    class Mortal(Crew):
        def answers(self, seconds):
            if self.num_groups >= limit:
                raise Killed
            yield from super().answers(seconds)

    first = Mortal(count, seed=limit)
    with pytest.raises(Killed):
        share(first, *words)
    folder = folder_of(str(tmp_path / "shared.mkv"))
    records = list(folder.glob("[0-9]*.json"))
    assert len(records) == limit
    second = Crew(count, seed=limit)
    shared = share(second, *words)
    # 21 frames, two in a group
    assert second.num_groups == 11 - limit
    assert shared.read_bytes() == single.read_bytes()


def test_a_single_run_and_workers_go_on_with_each_others_work(
    share, upscale, tmp_path, cutting_model
):
    source = clip_of(tmp_path / "in.mkv", CLIPS["cuts"][0])
    words = ("--video", source, "--segment", 2)
    single = tmp_path / "alone.mkv"
    shared = tmp_path / "shared.mkv"
    status, stderr = upscale(*words, "-o", single, model=cutting_model)
    assert status == 0, stderr

    class Mortal(Crew):
        def answers(self, seconds):
            if self.num_groups >= 3:
                raise Killed
            yield from super().answers(seconds)

    with pytest.raises(Killed):
        share(Mortal(1), *words)
    status, stderr = upscale(*words, "-o", shared, model=cutting_model)
    assert status == 0, stderr
    assert "going on after 6 finished frames" in stderr
    assert shared.read_bytes() == single.read_bytes()
    shared.unlink()
    with pytest.raises(Killed):
        share(Mortal(3, seed=5), *words)
    status, stderr = upscale(*words, "-o", shared, model=cutting_model)
    assert status == 1
    assert "--workers" in stderr


def test_a_part_of_which_every_worker_dies_ends_the_job(share, tmp_path):
    source = clip_of(tmp_path / "in.mkv", CLIPS["cuts"][0])
    # Every call kills its worker, for as long as anybody tries.
    crew = Crew(2, deaths=1000, mortality=1.0)
    with pytest.raises(JobError, match=r"workers died of the same part.*--tile"):
        share(crew, "--video", source, "--segment", 2)
