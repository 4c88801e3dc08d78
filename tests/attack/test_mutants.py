"""Thousands of damaged files: a good file or one clear line, and nothing half-done."""

import os
import random
from pathlib import Path

import pytest

from infer.errors import JobError
from infer.sources.probe import probe
from tests.attack.conftest import DATA, Upscale
from tests.attack.mutator import mutant
from tests.attack.outcome import FAULTS, Outcome, num_pictures
from tests.attack.recordings import record
from tests.attack.tally import count

pytestmark = pytest.mark.timeout(600, method="thread")  # it also ends what hangs in C

BATCH = 20
"""Mutants of one test, so that a failure is near its seed and workers share evenly."""
NUM_MUTANTS = int(os.environ.get("SDVSR_MUTANTS", "2000"))
NUM_IN_CI = 20
SEEDS = {
    "a.mp4": ("mp4", "libx264", "aac"),
    "a.mkv": ("matroska", "libx264", "aac"),
    "a.ts": ("mpegts", "libx264", "mp2"),
    "a.avi": ("avi", "mpeg4", "mp3"),
    "a.webm": ("webm", "libvpx-vp9", "libopus"),
    "a.mov": ("mov", "mjpeg", "pcm_s16le"),
    "a.flv": ("flv", "flv1", "mp3"),
    "a.vob": ("vob", "mpeg2video", "mp2"),
    "a.nut": ("nut", "ffv1", "flac"),
}
FIELD = (
    "cmyk.jpg",
    "wma_sound.wmv",
    "theora_empty_packets.ogv",
    "animated.webp",
    "vp9_alpha.webm",
)
MOST_PIXELS = 128 * 128
"""Every other size is a compilation; larger ones are not worth their time."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Real small files of many kinds."""
    folder = tmp_path_factory.mktemp("seeds")
    files = {}
    for name, (muxer, codec, sound) in SEEDS.items():
        # mjpeg takes pictures of limited range only so
        options = {"strict": "unofficial"} if codec == "mjpeg" else None
        path = record(folder / name, muxer, codec, sound, count=5, options=options)
        files[name] = path.read_bytes()
    for name in FIELD:
        files[name] = (DATA / "field" / name).read_bytes()
    return files


WORDS: list[tuple[str, ...]] = [
    ("-o", "o.mkv"),
    ("-o", "o.mov", "--drop-streams"),
    ("-o", "o.mkv", "--segment", "2"),
    ("-o", "o.mkv", "--deinterlace"),
    ("-o", "o.mkv", "--start", "1", "--frames", "3"),
    ("-o", "o.mp4", "--drop-streams", "--on-resize", "split"),
    ("-o", "o.ts"),
    ("-o", "o.mkv", "--codec", "ffv1"),
]


def is_worth_its_time(name: str, most: int) -> bool:
    """Whether its pictures have a size that was, or may be, compiled."""
    try:
        info = probe(name)
    except (ValueError, JobError):
        return True  # the command says so, too
    has_usual_size = (info.width, info.height) == (64, 48)
    is_usual = has_usual_size and not info.layout.is_deep
    return is_usual or info.width * info.height <= most


def check(folder: Path, outcome: Outcome) -> None:
    """It ended in complete files, or in one line and none."""
    for words in FAULTS:
        assert words not in outcome.text, outcome.text
    paths = list(folder.iterdir())
    outputs = [path for path in paths if path.name.startswith("o")]
    hidden = [path.name for path in paths if path.name.startswith(".")]
    assert hidden == []
    if outcome.status:
        assert outcome.status in (1, 2)
        assert len(outcome.errors) == 1, outcome.text
        # what a live recording held before it was lost stays, and plays
        outputs = [path for path in outputs if path.suffix == ".ts"]
    else:
        assert outputs, outcome.text
    for path in outputs:
        assert num_pictures(path) > 0


def attack(seeds, seed: int, upscale: Upscale, folder: Path, most: int) -> bool:
    """Whether the mutant of that seed was tried."""
    name, data = mutant(seeds, seed)
    folder.mkdir()
    os.chdir(folder)
    Path(name).write_bytes(data)
    if not is_worth_its_time(name, most):
        return False
    words = random.Random(seed).choice(WORDS)
    outcome = upscale("--video", name, *words)
    check(folder, outcome)
    return True


@pytest.mark.parametrize("batch", range(NUM_IN_CI // BATCH))
def test_some_mutants(
    request, monkeypatch, upscale: Upscale, seeds, tmp_path: Path, batch: int
) -> None:
    monkeypatch.chdir(tmp_path)  # the test's own folder again afterwards
    # seeds that the night does not use
    first = 10**6 + batch * BATCH
    num_tries = 0
    for seed in range(first, first + BATCH):
        folder = tmp_path / str(seed)
        num_tries += attack(seeds, seed, upscale, folder, 0)
    # if all had another size, nothing would have been tried
    assert num_tries > 0
    count(request, "mutants", num_tries)


@pytest.mark.nightly
@pytest.mark.parametrize("batch", range(-(-NUM_MUTANTS // BATCH)))
def test_many_mutants(
    request, monkeypatch, upscale: Upscale, seeds, tmp_path: Path, batch: int
) -> None:
    monkeypatch.chdir(tmp_path)
    first = batch * BATCH
    num_tries = 0
    for seed in range(first, first + BATCH):
        folder = tmp_path / str(seed)
        num_tries += attack(seeds, seed, upscale, folder, MOST_PIXELS)
    count(request, "mutants", num_tries)
