"""Routes of jobs: create, watch, change, take the result."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from infer.ui.estimates import estimate
from infer.ui.planning import CONTAINERS, plan_job
from infer.ui.queue import new_id
from infer.ui.refusal import Refusal
from infer.ui.routes_inputs import (
    Answers,
    Name,
)
from infer.ui.schemas import ENDED, Estimate, Job, JobChange, JobRecord
from infer.ui.server import TICK, Server

PREVIEW = 12
"""Frames of a preview that names no number: half a second, enough to see flicker."""
LONGEST_PREVIEW = 250
OLD_PREVIEWS = 12
"""Finished previews that are kept: one of 12 frames of 1280x720 takes 20 MB of disk."""
SHARED = ("workers", "mixed_workers", "gpu_share", "worker_patience")
"""Options of several workers, which decide no pixel."""
QUIET = 15.0
"""Seconds after which an event stream shows that it is alive: proxies cut others."""
EVENTS: Answers = {
    200: {"content": {"text/event-stream": {}}, "description": "Events."}
}


def job_routes(server: Server) -> APIRouter:
    """Returns the routes under /api/jobs, /api/estimate and /api/events."""
    routes = APIRouter(prefix="/api", tags=["jobs"])
    queue = server.queue
    new_job: Any = _new_job(server)

    @routes.get("/jobs", operation_id="listJobs")
    async def list_jobs() -> list[Job]:
        """The queue and the history."""
        return queue.jobs()

    @routes.post("/jobs", status_code=201, operation_id="createJob")
    async def create_job(wish: new_job) -> Job:  # type: ignore[valid-type]
        """Queue a job, or start a preview."""
        if len(queue.jobs()) >= server.settings.max_jobs:
            most = server.settings.max_jobs
            raise Refusal(409, f"There are {most} jobs already: delete some first.")
        record = await run_in_threadpool(_plan_record, server, wish)
        if record.job.kind == "preview":
            _replace_previews(server, record.job.input)
        return queue.add(record)

    @routes.post("/estimate", operation_id="estimateJob")
    async def estimate_job(wish: new_job) -> Estimate:  # type: ignore[valid-type]
        """The cost of a job, and whether it would start."""
        entry = server.inputs.ready(wish.input)
        values = _values(wish)
        folder = server.folder / "jobs"
        plan, words = await run_in_threadpool(
            plan_job, entry, values, server.models, wish.container, folder
        )
        return estimate(server, entry.id, plan, words)

    @routes.get("/jobs/{name}", operation_id="getJob")
    async def get_job(name: Name) -> Job:
        """One job."""
        return queue.record(name).job

    @routes.patch("/jobs/{name}", operation_id="changeJob")
    async def change_job(name: Name, change: JobChange) -> Job:
        """Pause, resume, cancel or move a job."""
        if change.action == "move":
            return queue.move(name, change.before)
        return getattr(queue, change.action)(name)

    @routes.delete("/jobs/{name}", status_code=204, operation_id="deleteJob")
    async def delete_job(name: Name) -> None:
        """End a job and remove its result."""
        queue.delete(name)

    @routes.get("/events", operation_id="events", responses=EVENTS)
    async def get_events(
        once: Annotated[bool, Query(description="End after the first event.")] = False,
    ) -> Response:
        """Server-sent events: first all jobs, then those that change. Each event is
        {"jobs": [...], "ids": [...]}, ids being all jobs that there are.
        """
        stream = _events(server, once)
        return StreamingResponse(stream, media_type="text/event-stream")

    return routes


def _new_job(server: Server) -> type[BaseModel]:
    """Returns the type of the wish for a job, with the command's options in it."""
    form = server.form
    text = {
        "input": "Id of the video.",
        "kind": "A preview goes before the queue and leaves lossless frames.",
        "options": "As on the command line.",
        "container": "Of the output; png is a folder of frames.",
    }
    fields: dict[str, Any] = {
        "input": (str, Field(max_length=64, description=text["input"])),
        "kind": (Literal["file", "preview"], Field("file", description=text["kind"])),
        "options": (form, Field(form(), description=text["options"])),
        "container": (
            Literal[CONTAINERS],
            Field("auto", description=text["container"]),
        ),
    }
    config = ConfigDict(extra="forbid", strict=True)
    return create_model("NewJob", __config__=config, **fields)


def _values(wish: Any) -> dict[str, Any]:
    """Returns the options by their names, without those that are as they always are."""
    return wish.options.model_dump(exclude_defaults=True)


def _plan_record(server: Server, wish: Any) -> JobRecord:
    entry = server.inputs.ready(wish.input)
    values = _values(wish)
    container = wish.container
    if wish.kind == "preview":
        frames = values.get("frames") or PREVIEW
        values["frames"] = min(frames, LONGEST_PREVIEW)
        for name in SHARED:
            # workers begin later, and hand over whole groups of frames
            values.pop(name, None)
        container = "png"
    folder = server.queue.folder_of("")
    plan, words = plan_job(entry, values, server.models, container, folder)
    name = Path(plan.output).name
    job = Job(
        id=new_id(),
        kind=wish.kind,
        input=entry.id,
        name=entry.name,
        output_name=name,
        options=values,
        words=words,
    )
    job.progress.total = plan.expected_frames
    job_folder = server.queue.folder_of(job.id)
    output = str(job_folder / "out" / name)
    return JobRecord(job=job, source=entry.path, output=output)


def _replace_previews(server: Server, entry: str) -> None:
    """Make room for a new preview: unfinished ones of the same video are ended, and
    only the latest finished ones stay.
    """
    previews = [job for job in server.queue.jobs() if job.kind == "preview"]
    ended = [job for job in previews if job.state in ENDED]
    surplus = max(0, len(ended) - OLD_PREVIEWS)
    open_ones = [job for job in previews if job.state not in ENDED]
    stale = [job for job in open_ones if job.input == entry]
    for job in ended[:surplus] + stale:
        server.queue.delete(job.id)


async def _events(server: Server, once: bool) -> AsyncIterator[str]:
    since = -1
    silence = 0.0
    while not server.is_ending:
        now, jobs, ids = server.queue.changes(since)
        if now != since:
            records = [job.model_dump() for job in jobs]
            news = json.dumps({"jobs": records, "ids": ids})
            yield f"data: {news}\n\n"
            since = now
            silence = 0.0
        if once:
            return
        if silence > QUIET:
            yield ": still here\n\n"
            silence = 0.0
        await asyncio.sleep(TICK)
        silence += TICK
