"""Jobs survive the server, and their bytes are those of the command."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.infer.clips import make_video, real_pictures
from tests.ui.conftest import Serve, Server, by_command, wait_until

pytestmark = pytest.mark.nightly

COUNT = 160
"""Frames: long enough to be interrupted, in groups of 8."""
OPTIONS = {"segment": 8, "scale": 2}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A clip with real content."""
    frames = real_pictures(8, 64, 48) * (COUNT // 8)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_video(str(path), range(COUNT), (64, 48), frames=frames)


def add_input(server: Server, path: str) -> str:
    return server.post("api/inputs", {"path": path})["id"]


def add_job(server: Server, entry: str, **options: Any) -> str:
    wish = {"input": entry, "options": {**OPTIONS, **options}}
    return server.post("api/jobs", wish)["id"]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_killing_server_and_command_loses_nothing(
    serve: Serve,
    clip: str,
    tiny_model: Path,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    server = serve("--root", Path(clip).parent)
    entry = add_input(server, clip)
    first = add_job(server, entry)
    second = add_job(server, entry)

    # the server dies while the command works; the command does not notice
    running = server.wait_for(first, "running")
    journal = tmp_path / "data" / "jobs" / first / "job.json"
    assert running["id"] in journal.read_text("utf-8")
    number = process_of(journal)
    server.kill()
    assert is_alive(number)
    server.start()
    assert server.job(first)["state"] in ("running", "done")
    assert server.job(second)["state"] in ("queued", "running", "done")
    assert process_of(journal) in (number, 0)

    # now both die in the middle of the first job
    wait_until(lambda: frames_of(server, first), lambda count: count >= 8)
    server.kill()
    if is_alive(number):
        os.kill(number, 9)
    server.start()
    job = server.wait_for(first, "done", "failed")
    assert job["state"] == "done", job["error"]

    # a pause keeps the finished groups, and going on makes the same bytes
    wait_until(lambda: frames_of(server, second), lambda count: count >= 8)
    job = server.patch(f"api/jobs/{second}", {"action": "pause"})
    # it may have come to its end before
    if job["state"] == "paused":
        # frames are counted before their group is closed
        out = tmp_path / "data" / "jobs" / second / "out"
        wait_until(lambda: list(out.glob(".*.parts/*.mkv")), bool)
        server.patch(f"api/jobs/{second}", {"action": "resume"})
    assert server.wait_for(second, "done", "failed")["state"] == "done"

    words = ("--segment=8", "--scale=2")
    expected = by_command(clip, tiny_model, tmp_path, environment, *words)
    for name in (first, second):
        path = f"{server.address}api/jobs/{name}/download"
        assert httpx.get(path).content == expected
        part = httpx.get(path, headers={"range": "bytes=100-199"})
        assert part.status_code == 206
        assert part.content == expected[100:200]


def frames_of(server: Server, name: str) -> int:
    return server.job(name)["progress"]["frames"]


def process_of(journal: Path) -> int:
    """The number of the command's process; 0 if the journal names none."""
    return json.loads(journal.read_text("utf-8"))["process"] or 0


def test_a_job_of_workers_and_cuts_is_the_commands(
    serve: Serve,
    clip: str,
    tiny_model: Path,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    pytest.importorskip("ray")
    server = serve("--root", Path(clip).parent)
    entry = add_input(server, clip)
    name = add_job(server, entry, frames=24, cut_at=[8, 16], workers=1)
    job = server.wait_for(name, "done", "failed")
    assert job["state"] == "done", job["error"]
    words = ("--segment=8", "--scale=2", "--frames=24", "--cut-at", "8", "16")
    expected = by_command(clip, tiny_model, tmp_path, environment, *words)
    assert httpx.get(f"{server.address}api/jobs/{name}/download").content == expected


def test_twenty_jobs_wait_in_their_order_and_can_be_moved(
    serve: Serve, clip: str
) -> None:
    server = serve("--root", Path(clip).parent, "--max-jobs", 20)
    entry = add_input(server, clip)
    names = [add_job(server, entry, seed=seed) for seed in range(20)]
    first, _, third, _, _, sixth, *_, last = names
    # a job that is paused keeps its place as well
    server.patch(f"api/jobs/{first}", {"action": "pause"})
    server.patch(f"api/jobs/{last}", {"action": "move", "before": sixth})
    server.patch(f"api/jobs/{third}", {"action": "move", "before": ""})
    expected = [name for name in names if name not in (last, third)]
    expected.insert(expected.index(sixth), last)
    expected.append(third)
    assert order_of(server) == expected

    full = httpx.post(f"{server.address}api/jobs", json={"input": entry})
    assert full.status_code == 409
    assert "20 jobs" in full.json()["error"]

    eighth = f"api/jobs/{names[7]}"
    job = server.patch(eighth, {"action": "cancel"})
    assert job["state"] == "cancelled"
    answer = httpx.patch(server.address + eighth, json={"action": "resume"})
    assert answer.status_code == 409
    answer = httpx.delete(f"{server.address}api/inputs/{entry}")
    assert answer.status_code == 409
    # of 20 one is paused, one cancelled, and a few may have run by now
    assert server.get("healthz")["queued"] >= 15
    metrics = httpx.get(f"{server.address}metrics").text
    assert 'sdvsr_ui_jobs{state="cancelled"} 1.0' in metrics

    # the journal of each job is on the disk before the answer
    server.kill()
    server.start()
    assert order_of(server) == expected


def order_of(server: Server) -> list[str]:
    return [job["id"] for job in server.get("api/jobs")]


def test_a_job_that_cannot_work_fails_with_the_commands_sentence(
    serve: Serve, clip: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(Path(clip).read_bytes())
    server = serve("--root", tmp_path)
    entry = add_input(server, str(copy))
    name = add_job(server, entry)
    # paused, or it could have read the whole file before that is gone
    server.patch(f"api/jobs/{name}", {"action": "pause"})
    copy.unlink()
    server.patch(f"api/jobs/{name}", {"action": "resume"})
    job = server.wait_for(name, "failed", "done")
    assert job["state"] == "failed"
    assert "no such file" in job["error"]
    assert "\n" not in job["error"]
    wish = {"input": entry, "options": {"codec": "nope"}}
    answer = httpx.post(f"{server.address}api/jobs", json=wish)
    assert answer.status_code == 400
