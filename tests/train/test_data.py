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
    arguments = [
        str(source),
        "--out",
        str(out),
        "--shrink",
        "1",
        "--min-side",
        "64",
        "--validation",
        "0.3",
    ]
    assert prepare.main(arguments) == 0
    return out


def test_prepare_reports_and_skips(source, tmp_path, capsys):
    arguments = [
        str(source),
        "--out",
        str(tmp_path),
        "--shrink",
        "1",
        "--min-side",
        "64",
        "--validation",
        "0",
    ]
    assert prepare.main(arguments) == 0
    text = capsys.readouterr().out
    assert "skipped 3 bad files" in text
    assert all(name in text for name in ("broken.mp4", "broken.jpg", "small.png"))
    sheet = np.asarray(Image.open(tmp_path / "contact_sheet.png"))
    assert sheet.shape == (
        2 * (6 * 64 + 8),
        6 * 64,
        3,
    )  # 6 windows each of bicubic and blind, 3 LR|HR pairs of 64
    shots = open_source_shots(tmp_path)
    # the clip with a cut gives two shots, each photograph one
    assert sorted(len(frames) for frames in shots.values()) == [1, 1, 6, 6, 12]


def open_source_shots(path):
    from train.data.frame_cache import open_source
    from train.datasets.records import from_example

    source = open_source(str(path), "train")
    return {
        shot.name: shot.frames
        for shot in (from_example(source[i]) for i in range(len(source)))
    }


def test_prepare_errors_are_one_line(tmp_path, capsys):
    (tmp_path / "only.mp4").write_bytes(b"bad")
    assert prepare.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "nothing usable" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert prepare.main([str(tmp_path / "empty"), "--out", str(tmp_path / "out2")]) == 1
    assert "found no clips or photographs" in capsys.readouterr().err
    assert prepare.main(["--out", str(tmp_path / "nothing")]) == 1
    assert "found no dataset" in capsys.readouterr().err


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
    if degradation == "bicubic":  # the LR is the HR, reduced: same content
        reduced = batch.hr.astype(float).reshape(4, 3, 12, 4, 12, 4, 3).mean((3, 5))
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
    first = GrainBatches(dataclasses.replace(data, num_threads=2 - threads), seed=5)
    take(first, 2)
    cursor = json.loads(json.dumps(first.get_state()))
    first.close()
    resumed = GrainBatches(data, seed=5)
    resumed.set_state(cursor)
    np.testing.assert_array_equal(take(resumed, 3), expected[2:])
    resumed.close()
    assert not np.array_equal(expected[0], expected[1])


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
    resumed.set_state(json.loads(json.dumps(parts[1].get_state())))
    np.testing.assert_array_equal(take(resumed, 2), expected[2:])
    single.set_state(parts[0].get_state())
    halves = [GrainBatches(data, 3, k, 2) for k in range(2)]
    for half in halves:
        half.set_state(single.get_state())
    mixed = np.stack([next(half).hr for half in halves], 1).reshape(expected[2].shape)
    np.testing.assert_array_equal(mixed, expected[2])
    for batches in (single, resumed, *parts, *halves):
        batches.close()


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
        single, parts = (
            open_batches(data, 3),
            [open_batches(data, 3, k, 2) for k in range(2)],
        )
        for _ in range(2):
            expected = next(single).hr
            joined = np.stack([next(p).hr for p in parts], 1).reshape(expected.shape)
            np.testing.assert_array_equal(joined, expected)
        for batches in (single, *parts):
            batches.close()


def test_pack_round_trip(dataset, tmp_path, capsys):
    path = tmp_path / "p.npy"
    arguments = [
        "--out",
        str(dataset),
        "--pack",
        str(path),
        "--windows",
        "5",
        "--frames",
        "3",
        "--size",
        "48",
    ]
    assert prepare.main(arguments) == 0
    assert np.load(path, mmap_mode="r").shape == (5, 3, 48, 48, 3)
    assert "packed [5, 3, 48, 48, 3]" in capsys.readouterr().out


def test_packed_resumes_exactly_and_covers_an_epoch(packed):
    data = DataConfig(
        path=str(packed), frames=4, crop=16, batch_size=3, flip=0.0, reverse=0.0
    )
    batches = PackedBatches(data, seed=2)
    epoch = take(batches, 4)
    windows = {w.tobytes() for batch in epoch for w in batch}
    assert windows == {w.tobytes() for w in np.load(packed)}
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
    np.testing.assert_array_equal(window, window[[0, 1, 2, 3, 2, 1, 0, 1, 2]])
    assert any((window[:4] == packed_window).all() for packed_window in np.load(packed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 17}, "the run needs 68x68: lower data.crop"),
        ({"degradation": "blind"}, "must be bicubic"),
        ({"path": "/nowhere/x.npy"}, "no such file"),
    ],
)
def test_packed_errors(packed, change, message):
    data = dataclasses.replace(
        DataConfig(path=str(packed), frames=2, crop=16), **change
    )
    with pytest.raises(ValueError, match=message):
        PackedBatches(data)


def test_reds_holds_out_reds4(tmp_path):
    for clip in ("000", "001", "015"):
        folder = tmp_path / "train_sharp" / clip
        folder.mkdir(parents=True)
        for k, frame in enumerate(moving_texture(5, 40, 40)):
            Image.fromarray(frame).save(folder / f"{k:08d}.png")
    builder = Reds(
        source=tmp_path / "train_sharp", data_dir=tmp_path / "out", max_frames=3
    )
    builder.download_and_prepare()
    assert builder.counts["train"] == {"items": 1, "shots": 2, "frames": 5}
    assert builder.counts["validation"] == {"items": 2, "shots": 4, "frames": 10}


def test_vimeo_reads_its_lists(tmp_path):
    for name in ("00001/0001", "00001/0002"):
        folder = tmp_path / "sequences" / name
        folder.mkdir(parents=True)
        for k, frame in enumerate(moving_texture(7, 40, 40), 1):
            Image.fromarray(frame).save(folder / f"im{k}.png")
    (tmp_path / "sep_trainlist.txt").write_text("00001/0001\n00001/0009\n")
    (tmp_path / "sep_testlist.txt").write_text("00001/0002\n")
    builder = Vimeo90k(source=tmp_path, data_dir=tmp_path / "out")
    builder.download_and_prepare()
    assert builder.counts["train"] == {"items": 1, "shots": 1, "frames": 7}
    assert [name for name, _ in builder.skipped] == ["sequences/00001/0009"]
    with pytest.raises(ValueError, match=r"sep_trainlist.txt"):
        Vimeo90k(source=tmp_path / "sequences", data_dir=tmp_path / "out2")
