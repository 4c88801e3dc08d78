import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from configs import DataConfig
from tests.train.conftest import moving_texture
from train import prepare
from train.data.packed import PackedBatches
from train.data.pipeline import GrainBatches
from train.data.source import open_batches
from train.datasets.reds import Reds
from train.datasets.vimeo90k import Vimeo90k


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("dataset")
    assert prepare.main([*words_for(source, out), "--validation", "0.3"]) == 0
    return out


def words_for(source, out) -> list[str]:
    """Words that make a dataset of small clips as they are."""
    return [str(source), "--out", str(out), "--shrink", "1", "--min-side", "64"]


def test_prepare_reports_and_skips(source, tmp_path, capsys):
    assert prepare.main([*words_for(source, tmp_path), "--validation", "0"]) == 0
    text = capsys.readouterr().out
    assert "skipped 3 bad files" in text
    for name in ("broken.mp4", "broken.jpg", "small.png"):
        assert name in text
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        # 6 windows each of bicubic and blind, 3 LR|HR pairs of 64
        assert sheet.size == (6 * 64, 2 * (6 * 64 + 8))
    shots = open_source_shots(tmp_path)
    lengths = sorted(len(frames) for frames in shots.values())
    # the clip with a cut gives two shots, each photograph one
    assert lengths == [1, 1, 6, 6, 12]


def open_source_shots(path):
    from train.data.frame_cache import open_source
    from train.datasets.records import from_example

    source = open_source(str(path), "train")
    shots = [from_example(source[index]) for index in range(len(source))]
    return {shot.name: shot.frames for shot in shots}


def test_prepare_errors_are_one_line(tmp_path, capsys):
    def refuses(*words) -> str:
        assert prepare.main([str(word) for word in words]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    (tmp_path / "only.mp4").write_bytes(b"bad")
    assert "nothing usable" in refuses(tmp_path, "--out", tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    error = refuses(empty, "--out", tmp_path / "out2")
    assert "found no clips or photographs" in error
    assert "found no dataset" in refuses("--out", tmp_path / "nothing")


@pytest.mark.parametrize("degradation", ["bicubic", "blind"])
def test_batches_are_paired_windows(dataset, degradation):
    data = DataConfig(
        path=str(dataset), frames=3, crop=12, batch_size=4, degradation=degradation
    )
    batches = GrainBatches(data, seed=1)
    batch = next(batches)
    batches.close()
    assert batch.hr.shape == (4, 3, 48, 48, 3)
    assert batch.lr.shape == (4, 3, 12, 12, 3)
    if degradation == "bicubic":
        cells = batch.hr.astype(float).reshape(4, 3, 12, 4, 12, 4, 3)
        reduced = cells.mean((3, 5))
        # the LR is the HR, reduced; other content would be tens of levels away
        assert np.abs(reduced - batch.lr).mean() < 6


def take(batches, count):
    return [next(batches).hr for _ in range(count)]


@pytest.mark.parametrize("threads", [0, 2])
def test_order_is_deterministic_and_resumes_exactly(dataset, threads):
    data = DataConfig(
        path=str(dataset), frames=2, crop=8, batch_size=3, num_threads=threads
    )
    reference = GrainBatches(data, seed=5)
    expected = take(reference, 5)
    reference.close()
    # another number of threads: the order is not theirs
    other_threads = dataclasses.replace(data, num_threads=2 - threads)
    first = GrainBatches(other_threads, seed=5)
    take(first, 2)
    cursor = through_json(first.get_state())
    first.close()
    resumed = GrainBatches(data, seed=5)
    resumed.set_state(cursor)
    np.testing.assert_array_equal(take(resumed, 3), expected[2:])
    resumed.close()
    assert not np.array_equal(expected[0], expected[1])


def through_json(cursor):
    """As it lies in a checkpoint."""
    return json.loads(json.dumps(cursor))


def test_resume_with_other_workers_is_refused(dataset):
    batches = GrainBatches(DataConfig(path=str(dataset), crop=8))
    with pytest.raises(ValueError, match=r"use --data\.num-workers=3"):
        batches.set_state({"num_workers": 3, "grain": {}})
    batches.close()


def test_another_number_of_processes_goes_on_with_the_same_windows(dataset):
    data = DataConfig(path=str(dataset), frames=2, crop=8, batch_size=4)
    single = GrainBatches(data, 3)
    expected = take(single, 4)
    parts = [GrainBatches(data, 3, k, 2) for k in range(2)]
    for part in parts:
        take(part, 2)
    resumed = GrainBatches(data, 3)
    resumed.set_state(through_json(parts[1].get_state()))
    np.testing.assert_array_equal(take(resumed, 2), expected[2:])
    single.set_state(parts[0].get_state())
    halves = [GrainBatches(data, 3, k, 2) for k in range(2)]
    for half in halves:
        half.set_state(single.get_state())
    np.testing.assert_array_equal(joined_batch(halves), expected[2])
    for batches in (single, resumed, *parts, *halves):
        batches.close()


def joined_batch(parts) -> np.ndarray:
    """The next batch of several processes; they take turns row by row."""
    rows = np.stack([next(part).hr for part in parts], 1)
    return rows.reshape(-1, *rows.shape[2:])


def test_workers_bind_a_run_to_its_processes(dataset):
    data = DataConfig(path=str(dataset), crop=8, batch_size=4)
    batches = GrainBatches(data, 3)
    cursor = batches.get_state() | {"num_processes": 2, "num_workers": 1}
    batches.close()
    batches = GrainBatches(dataclasses.replace(data, num_workers=1), 3)
    with pytest.raises(ValueError, match="written by 2"):
        batches.set_state(cursor)
    batches.close()


def test_processes_share_the_stream(dataset, packed):
    for path in (str(dataset), str(packed)):
        data = DataConfig(path=path, frames=2, crop=8, batch_size=4)
        single = open_batches(data, 3)
        parts = [open_batches(data, 3, k, 2) for k in range(2)]
        for _ in range(2):
            expected = next(single).hr
            np.testing.assert_array_equal(joined_batch(parts), expected)
        for batches in (single, *parts):
            batches.close()


def test_pack_round_trip(dataset, tmp_path, capsys):
    path = tmp_path / "p.npy"
    numbers = ["--windows=5", "--frames=3", "--size=48"]
    assert prepare.main(["--out", str(dataset), "--pack", str(path), *numbers]) == 0
    assert np.load(path, mmap_mode="r").shape == (5, 3, 48, 48, 3)
    assert "packed [5, 3, 48, 48, 3]" in capsys.readouterr().out


def test_packed_resumes_exactly_and_covers_an_epoch(packed):
    data = DataConfig(
        path=str(packed), frames=4, crop=16, batch_size=3, flip=0.0, reverse=0.0
    )
    batches = PackedBatches(data, seed=2)
    epoch = np.concatenate(take(batches, 4))
    windows = {window.tobytes() for window in epoch}
    assert windows == {window.tobytes() for window in np.load(packed)}
    cursor = batches.get_state()
    expected = take(batches, 2)
    again = PackedBatches(data, seed=2)
    again.set_state(cursor)
    np.testing.assert_array_equal(take(again, 2), expected)


def test_packed_windows_are_seen_there_and_back_by_a_longer_run(packed):
    data = DataConfig(
        path=str(packed), frames=9, crop=16, batch_size=1, flip=0.0, reverse=0.0
    )
    (window,) = next(PackedBatches(data)).hr
    assert (window[0] != window[3]).any()
    there_and_back = window[[0, 1, 2, 3, 2, 1, 0, 1, 2]]
    np.testing.assert_array_equal(window, there_and_back)
    windows = [packed_window.tobytes() for packed_window in np.load(packed)]
    assert window[:4].tobytes() in windows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 17}, "the run needs 68x68: lower data.crop"),
        ({"degradation": "blind"}, "must be bicubic"),
        ({"path": "/nowhere/x.npy"}, "no such file"),
    ],
)
def test_packed_errors(packed, change, message):
    data = DataConfig(path=str(packed), frames=2, crop=16)
    wrong = dataclasses.replace(data, **change)
    with pytest.raises(ValueError, match=message):
        PackedBatches(wrong)


def test_reds_holds_out_reds4(tmp_path):
    source = tmp_path / "train_sharp"
    # the first and the last are two of the four
    for clip in ("000", "001", "015"):
        folder = source / clip
        folder.mkdir(parents=True)
        for number, frame in enumerate(moving_texture(5, 40, 40)):
            Image.fromarray(frame).save(folder / f"{number:08d}.png")
    builder = Reds(source=source, data_dir=tmp_path / "out", max_frames=3)
    builder.download_and_prepare()
    assert builder.counts["train"] == {"items": 1, "shots": 2, "frames": 5}
    assert builder.counts["validation"] == {"items": 2, "shots": 4, "frames": 10}


def test_vimeo_reads_its_lists(tmp_path):
    for name in ("00001/0001", "00001/0002"):
        folder = tmp_path / "sequences" / name
        folder.mkdir(parents=True)
        for number, frame in enumerate(moving_texture(7, 40, 40), 1):
            Image.fromarray(frame).save(folder / f"im{number}.png")
    # the second is not there
    (tmp_path / "sep_trainlist.txt").write_text("00001/0001\n00001/0009\n")
    (tmp_path / "sep_testlist.txt").write_text("00001/0002\n")
    builder = Vimeo90k(source=tmp_path, data_dir=tmp_path / "out")
    builder.download_and_prepare()
    assert builder.counts["train"] == {"items": 1, "shots": 1, "frames": 7}
    assert [name for name, _ in builder.skipped] == ["sequences/00001/0009"]
    without_lists = tmp_path / "sequences"
    with pytest.raises(ValueError, match=r"sep_trainlist.txt"):
        Vimeo90k(source=without_lists, data_dir=tmp_path / "out2")
