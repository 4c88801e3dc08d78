"""The time and memory of a job, told before it starts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infer.clips import make_video, real_pictures
from tests.ui.conftest import ROOT, Serve, Server, wait_until

pytestmark = pytest.mark.heavy(15)


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """A clip with real content."""
    frames = real_pictures(12, 64, 48)
    path = str(tmp_path / "clip.mp4")
    return make_video(path, range(12), (64, 48), frames=frames)


def by_command(clip: str, model: Path, folder: Path, environment: Any) -> Any:
    """The prediction of `sdvsr plan`."""
    report = folder / "plan.json"
    words = ["--video", clip, "--model", str(model), "--report", str(report)]
    command = [sys.executable, "-m", "infer", "plan", *words]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return json.loads(report.read_text("utf-8"))["prediction"]


def ask(server: Server, entry: str, **options: Any) -> Any:
    """An estimate with all that there will be."""
    wish = {"input": entry, "options": options}
    return wait_until(
        lambda: server.post("api/estimate", wish),
        lambda estimate: not estimate["is_pending"],
    )


def test_before_anything_has_run_the_prediction_is_the_commands(
    serve: Serve,
    clip: str,
    tiny_model: Path,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    server = serve("--root", tmp_path)
    entry = server.post("api/inputs", {"path": clip})["id"]
    prediction = ask(server, entry)
    expected = by_command(clip, tiny_model, tmp_path, environment)
    assert prediction["basis"] == "predicted"
    assert prediction["memory"] == expected["memory"]
    ratio = prediction["seconds"] / (12 * expected["seconds_per_frame"])
    # a probe of the machine's speed, which other programs slow down
    assert 0.2 < ratio < 5
    assert prediction["bytes_basis"] == "enlarged source"
    half = ask(server, entry, frames=6)
    # the time is rounded to a tenth of a second
    assert half["seconds"] == pytest.approx(prediction["seconds"] / 2, abs=0.06)
    # a process has one number of threads for as long as it lives
    single = ask(server, entry, threads=1)
    assert single["basis"] == "predicted"
    assert single["memory"] == expected["memory"]


def test_afterwards_it_is_what_was_measured(
    serve: Serve, clip: str, tmp_path: Path
) -> None:
    server = serve("--root", tmp_path)
    entry = server.post("api/inputs", {"path": clip})["id"]
    wish = {"input": entry, "options": {}}
    name = server.post("api/jobs", wish)["id"]
    assert server.wait_for(name, "done", "failed")["state"] == "done"
    measurement = ask(server, entry)
    assert measurement["basis"] == "same size"
    assert measurement["memory"] > 0

    preview = server.post("api/jobs", {**wish, "kind": "preview"})["id"]
    server.wait_for(preview, "done", "failed")
    measurement = ask(server, entry)
    assert measurement["bytes_basis"] == "preview"
    size = server.job(name)["size"]
    # all frames of the clip were in the sample; the container's own bytes were not
    assert measurement["bytes"] == pytest.approx(size, rel=0.2)
