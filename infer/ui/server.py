"""Everything that the routes share."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from infer.ui.clips import Library
from infer.ui.disk import free_space
from infer.ui.films import Films
from infer.ui.forms import form_model
from infer.ui.inputs import Inputs
from infer.ui.later import Later
from infer.ui.planning import load_planning
from infer.ui.predictor import Predictor
from infer.ui.queue import Queue
from infer.ui.settings import GIB, Settings

TICK = 0.1
"""Seconds between two looks at the processes; the page is as late as this."""


@dataclass
class Metrics:
    """For Prometheus."""

    registry: CollectorRegistry
    jobs: Gauge
    free: Gauge
    uploads: Counter
    live_frames: Counter
    live_sessions: Gauge


class Server:
    """Inputs, queue and all else that requests share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.data_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.models = settings.models()
        self.form: type[BaseModel] = form_model(self.models)
        self.inputs = Inputs(self.folder / "inputs", settings)
        self.queue = Queue(self.folder / "jobs", settings.at_once)
        self.library = Library()
        self.films = Films(self.folder / "films", settings.spare_space * GIB)
        self.metrics = _metrics()
        self.live: Any = None
        # of a running server only
        self.predictor: Predictor | None = None
        self.later: Later | None = None
        self.is_ending = False

    @contextlib.asynccontextmanager
    async def running(self, app: Any) -> AsyncIterator[None]:
        """The life of the server: the queue is looked after; at an orderly end the
        commands are stopped, and go on with the next server.
        """
        self.predictor = Predictor()
        self.later = Later()
        tasks = [
            asyncio.create_task(self._look_after()),
            # jax takes seconds to load, which nobody should wait for at the first job
            asyncio.create_task(run_in_threadpool(load_planning)),
        ]
        try:
            yield
        finally:
            self.is_ending = True
            for task in tasks:
                task.cancel()
            self.queue.stop_all()
            self.films.end()
            await self.later.close()
            await self.predictor.close()
            if self.live is not None:
                await self.live.close()

    async def frame(self, path: str, number: int) -> Any:
        """Returns a frame of a file, uint8 or uint16 [h, w, 3]."""
        return await run_in_threadpool(self.library.rgb, path, file_state(path), number)

    def count(self) -> dict[str, int]:
        """How many jobs there are of each state."""
        counts: dict[str, int] = {}
        for job in self.queue.jobs():
            counts[job.state] = counts.get(job.state, 0) + 1
        return counts

    def update_metrics(self) -> None:
        """Fill in the values that are only known when somebody asks."""
        counts = self.count()
        # a state without jobs is told as 0: a line that ends would keep its last value
        for state in ("queued", "running", "paused", "done", "failed", "cancelled"):
            gauge = self.metrics.jobs.labels(state=state)
            gauge.set(counts.get(state, 0))
        self.metrics.free.set(free_space(self.folder))

    async def _look_after(self) -> None:
        while True:
            # A fault with one job must not end the queue for all others.
            try:
                self.queue.tick()
            except Exception:
                logging.getLogger(__name__).exception("the queue")
            await asyncio.sleep(TICK)


def file_state(path: str) -> tuple[int, int]:
    """Returns size and time of change of a file, which differ when its content does."""
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


def program_version() -> str:
    """Returns the version of the installed package."""
    try:
        return version("sdvsr-jax")
    except PackageNotFoundError:
        return "0"


def _metrics() -> Metrics:
    registry = CollectorRegistry()
    started = Gauge(
        "sdvsr_ui_start_time_seconds", "When the server began.", registry=registry
    )
    started.set(time.time())
    return Metrics(
        registry=registry,
        jobs=Gauge("sdvsr_ui_jobs", "Jobs by state.", ["state"], registry=registry),
        free=Gauge("sdvsr_ui_free_bytes", "Free disk space.", registry=registry),
        uploads=Counter("sdvsr_ui_upload_bytes", "Uploaded.", registry=registry),
        live_frames=Counter("sdvsr_ui_live_frames", "Live frames.", registry=registry),
        live_sessions=Gauge(
            "sdvsr_ui_live_sessions", "Open live sessions.", registry=registry
        ),
    )
