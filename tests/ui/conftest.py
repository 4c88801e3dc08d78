"""A real server of the page, and a real browser in front of it."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sdvsr_jax.config import DiffusionConfig
from sdvsr_jax.weights import load as checkpoint
from tests.tiny_models import random_params, tiny_nano

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "examples" / "nasa_320x180.mp4"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PATIENCE = float(os.environ.get("SDVSR_PATIENCE", "240"))
"""Seconds for anything that a command does: it imports jax and compiles, beside other
tests on two cores.
"""

expect.set_options(timeout=1000 * PATIENCE)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .safetensors file of a small model with random weights."""
    config = dataclasses.replace(tiny_nano(), diffusion=DiffusionConfig(num_steps=1))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    checkpoint.save(path, config, random_params(config))
    return path


@pytest.fixture(scope="session")
def environment(compiled: Path) -> dict[str, str]:
    """One cache of compiled programs for servers and commands, not the user's, and kept
    for the next run.
    """
    cache = str(compiled / "user")
    return {**os.environ, "XDG_CACHE_HOME": cache, "PYTHONPATH": str(ROOT)}


class Server:
    """`python -m infer ui` as a process of its own."""

    def __init__(
        self, words: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self._words = words
        self._environment = environment
        self._log = log
        self.link = ""
        self.folder = ""
        self.start()

    def start(self) -> None:
        """Start it, again at the same address if it ran before."""
        # 0: any that is free
        port = urlsplit(self.link).port or 0
        program = [sys.executable, "-m", "infer", "ui", "--no-browser"]
        command = [*program, "--port", str(port), *self._words]
        before = len(self.said())
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stderr=log
            )

        def is_ready(words: str) -> bool:
            # the last line that it says before it serves
            return "files  " in words or self.process.poll() is not None

        words = wait_until(lambda: self.said()[before:], is_ready)
        match = re.search(r"page +(http://\S+)", words)
        assert match, words
        self.link = match[1]

    def said(self) -> str:
        """Its output so far."""
        return self._log.read_text("utf-8") if self._log.exists() else ""

    @property
    def address(self) -> str:
        """Of the page, without a token."""
        return self.link.split("?")[0]

    def get(self, path: str) -> Any:
        """The JSON at a path of the interface."""
        return httpx.get(self.address + path, timeout=PATIENCE).json()

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a JSON request; an AssertionError with its sentence."""
        answer = httpx.post(self.address + path, json=body, timeout=PATIENCE)
        assert answer.is_success, answer.text
        return answer.json()

    def patch(self, path: str, body: Any) -> Any:
        """As `post`, for changes."""
        answer = httpx.patch(self.address + path, json=body, timeout=PATIENCE)
        assert answer.is_success, answer.text
        return answer.json()

    def delete(self, path: str) -> None:
        """Remove the thing at a path of the interface."""
        answer = httpx.delete(self.address + path, timeout=PATIENCE)
        assert answer.is_success, answer.text

    def job(self, name: str) -> Any:
        """One job as the interface tells it."""
        return self.get(f"api/jobs/{name}")

    def wait_for(self, name: str, *states: str) -> Any:
        """Wait until a job has one of these states."""
        return wait_until(lambda: self.job(name), lambda job: job["state"] in states)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it as a user does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            # it stops its commands first
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()


def by_command(
    clip: str, model: Path, folder: Path, environment: dict[str, str], *options: str
) -> bytes:
    """The bytes of the same job given on the command line."""
    output = folder / "by_command.mp4"
    words = ["--video", clip, "--output", str(output), "--model", str(model)]
    command = [sys.executable, "-m", "infer", *words, *options]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return output.read_bytes()


def wait_until(look: Callable[[], Any], is_right: Callable[[Any], bool]) -> Any:
    """Returns the first sight that is right; fails with the last one."""
    end = time.monotonic() + PATIENCE
    while True:
        sight = look()
        if is_right(sight):
            return sight
        assert time.monotonic() < end, sight
        # a command takes seconds, and asking costs the server some time as well
        time.sleep(0.1)


Serve = Callable[..., Server]


@pytest.fixture
def serve(
    tmp_path: Path, tiny_model: Path, environment: dict[str, str]
) -> Iterator[Serve]:
    """Starts servers with the tiny model and a folder of their own; none may have made
    a mistake in the end.
    """
    servers = []

    def begin(*words: object) -> Server:
        common = ["--folder", tmp_path / "data", "--model", tiny_model]
        log = tmp_path / f"server{len(servers)}.log"
        server = Server([str(word) for word in [*common, *words]], environment, log)
        servers.append(server)
        return server

    yield begin
    for server in servers:
        for job in _jobs_of(server):
            httpx.delete(f"{server.address}api/jobs/{job['id']}", timeout=PATIENCE)
        server.end()
        text = server.said()
        assert "Traceback" not in text, text


def _jobs_of(server: Server) -> list[Any]:
    """Jobs to be ended with the test; none where a token is needed."""
    if server.process.poll() is not None:
        return []
    answer = httpx.get(f"{server.address}api/jobs", timeout=PATIENCE)
    return answer.json() if answer.is_success else []


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. In CI it must be there; elsewhere its tests are skipped."""
    if not shutil.which(CHROMIUM):
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium")
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    arguments = [
        # CI runs as root in a container, where Chromium's own sandbox cannot start
        "--no-sandbox",
        "--disable-gpu",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, timeout=1000 * PATIENCE
        )
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Opens pages; afterwards none may have said an error or asked another host."""
    contexts = []
    faults: list[str] = []
    strangers: list[str] = []

    def begin(link: str, quiet: bool = True, **settings: Any) -> Page:
        settings.setdefault("viewport", {"width": 1280, "height": 860})
        context = chromium.new_context(**settings)
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE)
        page = context.new_page()
        host = urlsplit(link).netloc

        def note_request(request: Any) -> None:
            # data and blobs of the page itself have no host
            if urlsplit(request.url).netloc not in (host, ""):
                strangers.append(request.url)

        page.on("request", note_request)
        page.on("pageerror", lambda error: faults.append(str(error)))
        if quiet:
            page.on("console", lambda line: _note(line, faults))
        page.goto(link)
        page.wait_for_selector("html[data-ready=yes]")
        return page

    yield begin
    for context in contexts:
        context.close()
    assert not faults
    assert not strangers


def _note(line: Any, faults: list[str]) -> None:
    if line.type in ("error", "warning"):
        faults.append(f"{line.text} {line.location.get('url', '')}")
