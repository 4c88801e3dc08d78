"""Hub checkpoints, from a server on this machine that speaks the hub's protocol."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sdvsr_jax.weights import diffusers_layout as published
from tests.tiny_models import random_params, tiny_published

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/tiny-vsr"
NOWHERE = "http://127.0.0.1:9"
"""The port of a service that hardly any machine runs: refused at once."""


class Hub(BaseHTTPRequestHandler):
    """One repository with one commit: the listing, and its files with their ETags."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        if self.path.startswith(f"/api/models/{REPO}/tree/"):
            self._send_json([self._entry(path) for path in files])
        elif self.path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": self._name(path)} for path in files]
            listing = {
                "id": REPO,
                "modelId": REPO,
                "sha": COMMIT,
                "siblings": siblings,
                "private": False,
                "tags": [],
                "downloads": 0,
            }
            self._send_json(listing)
        elif self.path.startswith(f"/{REPO}/resolve/"):
            _, name = self.path.split(f"{COMMIT}/")
            data = (self.folder / name).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'}
            self._send(data, headers)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder))

    def _entry(self, path: Path) -> dict:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        return {
            "type": "file",
            "path": self._name(path),
            "oid": digest[:40],
            "size": size,
            "lfs": {"oid": digest, "size": size, "pointerSize": 1},
        }

    def _send_json(self, value: list | dict) -> None:
        self._send(json.dumps(value).encode(), {})

    def _send(self, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        length = {"Content-Length": str(len(data))}
        for name, value in (headers | length).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hub")
    published.write(folder, tiny_published(), random_params(tiny_published()))
    (folder / "pickle.bin").write_bytes(b"never fetched")
    handler = type("Handler", (Hub,), {"folder": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def load(home: Path, endpoint: str, arguments: str) -> subprocess.CompletedProcess[str]:
    """Loads in another process: the hub library reads its settings at import."""
    code = (
        "from sdvsr_jax import load\n"
        f"try: print(load({arguments})[0].unet.block_channels)\n"
        "except ValueError as error: print('ValueError:', error)"
    )
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "hf"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    extra = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment = os.environ | settings | extra
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        # seconds on a machine that imports jax for other tests as well
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return process


def test_a_hub_model_is_fetched_pinned_kept_and_checked(
    server: str, tmp_path: Path
) -> None:
    # the channels of the tiny model
    assert "(8, 16)" in load(tmp_path, server, repr(REPO)).stdout
    pins = tmp_path / "cache" / "sdvsr_jax" / "pins"
    pin = json.loads((pins / "someone--tiny-vsr.json").read_text("utf-8"))
    assert pin["commit"] == COMMIT
    parts = ("unet", "controlnet", "vae")
    files = {published.FLOW_FILE, published.PROMPT_FILE, published.OUR_CONFIG}
    files |= {f"{name}/{published.WEIGHTS}" for name in parts}
    files |= {f"{name}/config.json" for name in parts}
    assert set(pin["sha256"]) == files | {"scheduler/scheduler_config.json"}
    assert not list((tmp_path / "hf").rglob("pickle.bin"))

    offline = f"{REPO!r}, offline=True"
    assert "(8, 16)" in load(tmp_path, NOWHERE, offline).stdout

    # a config decides as much as the weights do
    for name in (published.OUR_CONFIG, f"vae/{published.WEIGHTS}"):
        file = next((tmp_path / "hf").rglob(name)).resolve()
        content = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(content[:-1] + b" ")
        out = load(tmp_path, NOWHERE, offline).stdout
        assert f"{name} changed since the first download" in out
        file.write_bytes(content)


def test_what_is_neither_cached_nor_reachable_is_one_clear_line(tmp_path: Path) -> None:
    offline = load(tmp_path, NOWHERE, f"{REPO!r}, offline=True").stdout
    assert offline.startswith(
        f"ValueError: model '{REPO}' is not in the local cache and --offline was given"
    )
    assert offline.count("\n") == 1
    online = load(tmp_path, NOWHERE, repr(REPO)).stdout
    assert online.startswith(f"ValueError: model '{REPO}'")
    assert online.count("\n") == 1


def test_an_unknown_revision_is_one_clear_line(server: str, tmp_path: Path) -> None:
    out = load(tmp_path, server, "'someone/other-model'").stdout
    assert out.startswith(
        "ValueError: model 'someone/other-model' cannot be downloaded"
    )
    assert out.count("\n") == 1
