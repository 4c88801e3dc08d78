"""Jobs that do not fit into the memory work in tiles: the same frames, less memory,
resumable.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import ROOT, make_video, stopped_before
from PIL import Image

from infer.__main__ import main
from infer.jobs.fitting import engine_for_job, need_of_job
from infer.jobs.plan import make_plan
from infer.model import memory
from infer.model import memory_plan as fit
from infer.model.engine import Engine, Shape, load_model
from infer.model.engines import Engines
from infer.options import parse
from infer.sources.files import read_frames
from infer.sources.probe import probe

SIZE = (160, 144)


@pytest.fixture
def upscale(upscale):
    """Lossless, so that pixels can be compared."""
    return lambda *words: upscale(*words, "--codec", "ffv1")


def frames_of(path: Path) -> np.ndarray:
    info = probe(str(path))
    return np.stack([f.rgb for f in read_frames(info)])


@pytest.fixture
def source(tmp_path):
    return make_video(str(tmp_path / "in.mkv"), range(6), SIZE)


@pytest.fixture
def wide(tmp_path):
    """Low, so that two tiles side by side are a frame."""
    path = str(tmp_path / "wide.mkv")
    return make_video(path, range(4), (160, 24))


def test_tiles_are_chosen_where_the_frame_does_not_fit_and_said(
    upscale, wide, tmp_path, monkeypatch
):
    """And a job begun in tiles goes on in tiles, whatever the memory is by then."""
    # Frames of few pixels would be compiled before anybody looks at their memory.
    monkeypatch.setattr(fit, "PLAIN", 0)
    monkeypatch.setattr(memory, "available", lambda device: 10 * 2**20)
    stopped = tmp_path / ".o.mkv.parts"
    output = tmp_path / "o.mkv"
    with stopped_before("000001.json"):
        status, message = upscale("--video", wide, "-o", output, "--segment", 2)
    assert status == 130
    assert "fit      tiles of 128x24" in message
    assert (stopped / "000000.json").exists()
    monkeypatch.setattr(memory, "available", lambda device: 2**40)
    status, message = upscale("--video", wide, "-o", output, "--segment", 2, "--resume")
    assert status == 0, message
    assert "going on after 2 finished frames" in message
    words = ("--video", wide, "--segment", 2)
    tiled = tmp_path / "p.mkv"
    status, message = upscale(*words, "-o", tiled, "--tile", 128)
    assert status == 0, message
    assert output.read_bytes() == tiled.read_bytes()
    complete = tmp_path / "q.mkv"
    status, message = upscale(*words, "-o", complete)
    assert status == 0, message
    assert frames_of(complete).shape == frames_of(tiled).shape


def test_other_tiles_do_not_resume(upscale, wide):
    words = "--video", wide, "--segment", 2, "--tile"
    with stopped_before("000001.json"):
        status, message = upscale(*words, 128)
        assert status == 130, message
    status, message = upscale(*words, "off")
    assert status == 2
    assert "fit was '128x24', is 'off'" in message


def test_resume_needs_something_to_resume(upscale, source):
    status, message = upscale("--video", source, "--resume")
    assert status == 2
    assert "no unfinished work" in message
    status, message = upscale("--video", source, "--resume", "--restart")
    assert status == 2, message


@pytest.mark.heavy(60)
def test_seams_of_the_shipped_model_stay_within_rounding(tmp_path):
    clip = str(ROOT / "examples" / "nasa_320x180.mp4")
    outputs = []
    for tile in ("off", "160"):
        folder = tmp_path / tile
        status = main(
            ["--video", clip, "-o", str(folder), "--tile", tile, "--frames", "3"]
        )
        assert status == 0
        outputs.append(
            np.stack(
                [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
            ).astype(int)
        )
    assert outputs[0].shape == (3, 720, 1280, 3)
    difference = np.abs(outputs[0] - outputs[1])
    # One of rounding, and one where the restorer reaches beyond the margin of a tile.
    assert difference.max() <= 2
    # The restorer reaches a little further than the margin of a tile, and every frame
    # sees the one before: 1 of 8,294,400 values here.
    assert (difference == 2).mean() < 1e-6


MEASURE = """
import sys, numpy as np
from infer.model.engine import load_model, Engine, Shape
from infer.model.layout import Tiles
from infer.model.memory import size_of
from infer.model.tiled import TiledEngine
def kib(name):
    lines = open('/proc/self/status')
    return next(int(l.split()[1]) for l in lines if l.startswith(name))
model, tile = load_model(sys.argv[1], 'cpu'), int(sys.argv[2])
shape = Shape(960, 540, False, (3840, 2160))
engine = TiledEngine(model, shape, Tiles(tile, tile)) if tile else Engine(model, shape)
small = Engine(model, Shape(64, 64, False, (256, 256)))
small.step(small.start(0), np.zeros((64, 64, 3), np.uint8))[1].block_until_ready()
open('/proc/self/clear_refs', 'w').write('5')
before = kib('VmRSS')
state = engine.start(0)
for i in range(3):
    state, out = engine.step(state, np.full((540, 960, 3), 40 * i, np.uint8))
    np.asarray(out)
kept = engine.snapshot(state)
state, out = engine.step(state, np.zeros((540, 960, 3), np.uint8))
np.asarray(out)
predicted = engine.memory(0, 0).device - size_of(model.params)
print((kib('VmHWM') - before) * 1024, predicted)
"""


def measure(model: str, tile: int) -> tuple[int, int]:
    """Peak growth of a process over a few frames, and its prediction, in bytes."""
    words = [sys.executable, "-c", MEASURE, model, str(tile)]
    finished_process = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    grown, predicted = map(int, finished_process.stdout.split())
    return grown, predicted


@pytest.mark.heavy(85)
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="needs Linux's count of peak memory",
)
def test_the_prediction_is_true_and_tiles_take_less(tiny_model):
    full = measure(tiny_model, 0)
    tiled = measure(tiny_model, 256)
    for grown, predicted in (full, tiled):
        # Allocators keep holes, which no compiler predicts.
        assert abs(predicted / grown - 1) < 0.2, (full, tiled)
    # Tiles of 256 have an eighth of the pixels; the state of the frame is whole in
    # both.
    assert tiled[0] < 0.7 * full[0]


PEAK = """
import sys
from infer.__main__ import main
status = main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
sys.exit(status)
"""
"""Runs a job and prints the peak of its memory in KiB. (A child's `ru_maxrss` begins
with its parent's memory.)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs a process's peak memory"
)
def test_the_prediction_counts_the_program_itself(command, source, tmp_path):
    """Libraries and compiler take most of the memory of a small job."""
    report = tmp_path / "report.json"
    output = tmp_path / "o.mkv"
    words = command("--video", source, "-o", output, "--report", report)
    # the words behind `python -m infer`
    arguments = [sys.executable, "-c", PEAK, *words[3:]]
    process = subprocess.run(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    peak = 1024 * int(process.stdout)
    facts = json.loads(report.read_text())
    predicted = sum(facts["predicted_memory"].values())
    # The encoder's share is the worst case of its preset, and the allocator's holes
    # are not predicted.
    assert 0.7 < predicted / peak < 1.4


def test_memory_is_estimated_before_anything_is_compiled(tiny_model, source):
    options = parse(["--video", source, "--model", tiny_model])
    plan = make_plan(options, source)
    model = load_model(tiny_model, "cpu")
    engine = engine_for_job(options, plan, model, Engines())
    need = need_of_job(plan)
    result = fit.predicted(engine, need)
    estimate = fit.estimate(need, model).whole
    predicted = result.device + result.host
    # as near as the prediction is to the truth
    assert abs(estimate / predicted - 1) < 0.2


def test_one_value_that_is_no_number_is_seen_on_the_device(tiny_model):
    """Rounding to pixels makes it black, so the state is asked."""
    model = load_model(tiny_model, "cpu")
    engine = Engine(model, Shape(16, 16, False, (64, 64)))
    state = engine.start(0)
    assert engine.is_finite(state)
    for value in (np.nan, np.inf):
        sr = state.prev_sr.at[0, 3, 5, 1].set(value)
        assert not engine.is_finite(state._replace(prev_sr=sr))


def test_the_memory_of_this_process_grows_by_an_allocation():
    before = memory.resident()
    if not before:
        pytest.skip("this system tells nobody its memory")
    # 128 MiB, which no other thread gives back by chance; ones, because the system
    # gives zeros without taking memory.
    block = np.ones(2**24)
    # Other threads may give memory back meanwhile.
    assert memory.resident() - before > 0.9 * block.nbytes
