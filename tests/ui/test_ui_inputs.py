"""Uploads and files of the server: which arrive, which are refused, which survive."""

import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from infer.ui import inputs as module
from infer.ui.disk import harmless_name
from tests.ui.conftest import CLIP
from tests.ui.test_guard import client_of

HOSTILE = [
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "--output=x.mp4",
    "a\0b.mp4",
    "<img src=x onerror=alert(1)>.mp4",
    "con/../nul.mp4",
    "日本語 ビデオ.mp4",
    "." * 300,
    "x" * 900 + ".mp4",
    "\u202egnp.4pm",
    "concat:a|b.mp4",
]


def send(client: TestClient, name: str, data: bytes, part: int = 20000) -> dict:
    """Upload in parts; returns the input as it stands after the last one."""
    wish = {"name": name, "size": len(data)}
    entry = client.post("/api/inputs", json=wish).json()
    for offset in range(0, len(data), part):
        path = f"/api/inputs/{entry['id']}/content"
        content = data[offset : offset + part]
        answer = client.put(path, params={"offset": offset}, content=content)
        assert answer.status_code == 200, answer.text
        entry = answer.json()
    return entry


def test_an_upload_in_parts_is_the_file_byte_by_byte(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    data = CLIP.read_bytes()
    entry = send(client, "clip.mp4", data)
    assert entry["state"] == "ready"
    assert entry["clip"]["frames"] == 50
    answer = client.get(f"/api/inputs/{entry['id']}/video")
    assert answer.content == data


def test_a_broken_upload_goes_on_also_with_another_server(tmp_path: Path) -> None:
    data = CLIP.read_bytes()
    client = client_of(tmp_path)
    wish = {"name": "clip.mp4", "size": len(data)}
    name = client.post("/api/inputs", json=wish).json()["id"]
    path = f"/api/inputs/{name}/content"
    client.put(path, params={"offset": 0}, content=data[:30000])
    again = client.put(path, params={"offset": 0}, content=data[:30000])
    assert again.status_code == 409
    assert "30000" in again.json()["error"]
    other = client_of(tmp_path)
    assert other.get(f"/api/inputs/{name}").json()["received"] == 30000
    rest = other.put(path, params={"offset": 30000}, content=data[30000:])
    assert rest.json()["state"] == "ready"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_a_name(tmp_path: Path, name: str) -> None:
    client = client_of(tmp_path / "data")
    entry = send(client, name, CLIP.read_bytes())
    assert entry["state"] == "ready"
    assert entry["name"] == name
    inputs = tmp_path / "data" / "inputs"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert path.is_relative_to(inputs)
    stem = harmless_name(name)
    assert os.path.basename(stem) == stem
    assert stem[0] not in "-."
    # the longest name that a job makes of it; file systems take 255 bytes
    assert len(f".{stem}_x4.mp4.parts".encode()) < 255


def test_what_is_no_video_is_told_in_a_sentence(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    entry = send(client, "song.mp4", b"no video at all" * 100)
    assert entry["state"] == "bad"
    assert entry["error"].startswith("song.mp4: not a video")
    assert str(tmp_path) not in entry["error"]
    assert client.get(f"/api/inputs/{entry['id']}/frames/0").status_code == 409


def test_only_real_files_below_the_roots_are_opened(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    (root / "deep").mkdir(parents=True)
    inside = root / "deep" / "in.mp4"
    inside.write_bytes(CLIP.read_bytes())
    outside = tmp_path / "out.mp4"
    outside.write_bytes(CLIP.read_bytes())
    (root / "link.mp4").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    (tmp_path / "videos2").mkdir()
    (tmp_path / "videos2" / "near.mp4").write_bytes(CLIP.read_bytes())
    client = client_of(tmp_path / "data", root=(str(root),))
    forbidden = [
        str(outside),
        f"{root}/../out.mp4",
        f"{root}/link.mp4",
        f"{root}/folder/out.mp4",
        f"{tmp_path}/videos2/near.mp4",
        f"{root}/missing.mp4",
        str(root),
        "/etc/passwd",
        "http://127.0.0.1/x.mp4",
    ]
    answers = [client.post("/api/inputs", json={"path": path}) for path in forbidden]
    assert {answer.status_code for answer in answers} == {403}
    # the same words for all: whether a file exists is not told
    assert len({answer.text for answer in answers}) == 1
    answer = client.post("/api/inputs", json={"path": str(inside)})
    assert answer.status_code == 201
    paths = [entry["path"] for entry in client.get("/api/roots").json()]
    assert paths == [str(inside)]


def test_a_deleted_input_of_a_root_stays_on_the_disk(tmp_path: Path) -> None:
    inside = tmp_path / "in.mp4"
    inside.write_bytes(CLIP.read_bytes())
    client = client_of(tmp_path / "data", root=(str(tmp_path),))
    entry = client.post("/api/inputs", json={"path": str(inside)}).json()
    assert client.delete(f"/api/inputs/{entry['id']}").status_code == 204
    assert inside.exists()
    assert client.get("/api/inputs").json() == []


def test_limits_of_size_count_and_space_are_sentences(tmp_path: Path) -> None:
    # of a MiB, in GiB; the upload has ten times that
    tenth = 0.1 / 1024
    cases = [
        ({"max_upload": tenth}, 413),
        ({"max_space": tenth}, 507),
        ({"spare_space": 1e9}, 507),
        ({"max_inputs": 1}, 409),
    ]
    for number, (limit, status) in enumerate(cases):
        client = client_of(tmp_path / str(number), **limit)
        if "max_inputs" in limit:
            client.post("/api/inputs", json={"name": "a.mp4", "size": 10})
        answer = client.post("/api/inputs", json={"name": "a.mp4", "size": 10**6})
        assert answer.status_code == status, limit
        assert answer.json()["error"].endswith((".", "first."))


def test_a_part_that_is_too_large_or_empty_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infer.ui.routes_inputs.CHUNK", 1000)
    client = client_of(tmp_path)
    entry = client.post("/api/inputs", json={"name": "a.mp4", "size": 5000}).json()
    path = f"/api/inputs/{entry['id']}/content"
    large = client.put(path, params={"offset": 0}, content=b"x" * 1001)
    assert large.status_code == 413
    assert client.put(path, params={"offset": 0}, content=b"").status_code == 400
    assert client.get(f"/api/inputs/{entry['id']}").json()["received"] == 0


def test_the_demo_clip_is_offered_where_it_is(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    about = client.get("/api/about").json()
    assert about["demo"] is module.DEMO.exists()
    entry = client.post("/api/inputs", json={"demo": True}).json()
    assert entry["clip"]["width"] == 320
