"""Routes of inputs: uploads in chunks, files of the server, their frames."""

import os
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from infer.ui.inputs import CHUNK
from infer.ui.pictures import bicubic, png, thumbnail, tone_map
from infer.ui.refusal import Refusal
from infer.ui.schemas import MOST, Clip, Film, Input, NewInput, RootFile
from infer.ui.server import Server, file_state

Name = Annotated[str, Path(min_length=1, max_length=64)]
Number = Annotated[int, Path(ge=0, le=MOST)]
Side = Annotated[int, Query(ge=0, le=16384)]
FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
"""Frames of an id never change."""
Answers = dict[int | str, dict[str, Any]]
PNG: Answers = {200: {"content": {"image/png": {}}, "description": "The picture."}}
WEBP: Answers = {200: {"content": {"image/webp": {}}, "description": "The picture."}}
FILE: Answers = {
    200: {"content": {"application/octet-stream": {}}, "description": "The file."},
    206: {"content": {"application/octet-stream": {}}, "description": "A part of it."},
    416: {"content": {"text/plain": {}}, "description": "There is no such range."},
}


def input_routes(server: Server) -> APIRouter:
    """Returns the routes under /api/inputs and /api/roots."""
    routes = APIRouter(prefix="/api", tags=["inputs"])
    inputs = server.inputs

    @routes.get("/inputs", operation_id="listInputs")
    async def list_inputs() -> list[Input]:
        """All videos that are here, and uploads that are not complete."""
        return inputs.all()

    @routes.post("/inputs", status_code=201, operation_id="createInput")
    async def create_input(wish: NewInput) -> Input:
        """Begin an upload, or open a file of the server."""
        return await run_in_threadpool(inputs.create, wish)

    @routes.get("/inputs/{name}", operation_id="getInput")
    async def get_input(name: Name) -> Input:
        """One video; `received` says where an upload goes on."""
        return inputs.get(name)

    @routes.put(
        "/inputs/{name}/content",
        operation_id="appendToInput",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {"schema": {"format": "binary"}}
                },
            }
        },
    )
    async def append_to_input(
        name: Name, request: Request, offset: Annotated[int, Query(ge=0, le=MOST)]
    ) -> Input:
        """The next bytes of an upload, 8 MiB at most; offset: how many came before."""
        inputs.get(name)
        data = await _read_chunk(request)
        server.metrics.uploads.inc(len(data))
        return await run_in_threadpool(inputs.append, name, offset, data)

    @routes.delete("/inputs/{name}", status_code=204, operation_id="deleteInput")
    async def delete_input(name: Name) -> None:
        """Forget a video; an upload is removed, a file of the server stays."""
        inputs.get(name)
        jobs = server.queue.jobs()
        states = [job.state for job in jobs if job.input == name]
        busy = [state for state in states if state in ("queued", "running", "paused")]
        if busy:
            count = len(busy)
            raise Refusal(409, f"{count} unfinished jobs need this video: cancel them.")
        inputs.delete(name)

    @routes.get("/roots", operation_id="listRoots")
    async def list_roots() -> list[RootFile]:
        """The videos in the folders of --root."""
        paths = await run_in_threadpool(lambda: list(inputs.root_files()))
        files = []
        for path in paths:
            size = path.stat().st_size
            files.append(RootFile(path=str(path), size=size))
        return files

    return routes


def source_routes(server: Server) -> APIRouter:
    """Returns the routes of an input's pictures under /api/inputs."""
    routes = APIRouter(prefix="/api", tags=["inputs"])
    inputs = server.inputs

    @routes.get("/inputs/{name}/thumbnail", operation_id="thumbnail", responses=WEBP)
    async def get_thumbnail(name: Name) -> Response:
        """The first frame, small."""
        entry = inputs.ready(name)
        rgb = await server.frame(entry.path, 0)
        data = await run_in_threadpool(thumbnail, rgb)
        return Response(data, media_type="image/webp", headers=FOREVER)

    @routes.get("/inputs/{name}/times", operation_id="inputTimes")
    async def get_times(name: Name) -> list[float]:
        """The second at which each frame is shown, from the first one on."""
        entry = inputs.ready(name)
        return await times_of(server, entry.path)

    @routes.get(
        "/inputs/{name}/frames/{number}", operation_id="inputFrame", responses=PNG
    )
    async def get_frame(
        name: Name, number: Number, width: Side = 0, height: Side = 0
    ) -> Response:
        """A frame as the model sees it, lossless; with width and height enlarged by the
        bicubic filter. HDR is tone mapped.
        """
        entry = inputs.ready(name)
        rgb = await server.frame(entry.path, number)
        size = (width, height) if width and height else None
        hdr = entry.clip.hdr if entry.clip else ""
        data = await run_in_threadpool(draw, rgb, size, hdr)
        return Response(data, media_type="image/png", headers=FOREVER)

    @routes.get("/inputs/{name}/video", operation_id="inputVideo", responses=FILE)
    async def get_video(name: Name) -> FileResponse:
        """The file itself, in ranges if asked."""
        entry = inputs.ready(name)
        return StoredFile(entry.path)

    @routes.post("/inputs/{name}/film", operation_id="makeInputFilm")
    async def make_film(name: Name) -> Film:
        """Make a copy for motion, for browsers that cannot play the file; asked again,
        this tells how far it is.
        """
        entry = inputs.ready(name)
        return film_of(server, entry.path, entry.clip)

    @routes.get("/inputs/{name}/film", operation_id="inputFilm", responses=FILE)
    async def get_film(name: Name) -> FileResponse:
        """The copy for motion, in ranges if asked."""
        entry = inputs.ready(name)
        return finished_film(server, entry.path)

    return routes


class StoredFile(FileResponse):
    """A file, in ranges if asked; FileNotFoundError if it was removed meanwhile."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the file."""
        try:
            await super().__call__(scope, receive, send)
        except RuntimeError:
            # starlette's word for a file that is not there, and for other faults
            if os.path.exists(self.path):
                raise
            raise FileNotFoundError(self.path) from None


async def _read_chunk(request: Request) -> bytes:
    # Part by part: one that is too large is refused before it is in memory.
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > CHUNK:
            raise Refusal(413, f"A part may have {CHUNK} bytes at most.")
    if not data:
        raise Refusal(400, "There were no bytes in this part.")
    return bytes(data)


async def times_of(server: Server, path: str) -> list[float]:
    """Returns the second at which each frame of a file is shown."""
    reader = await run_in_threadpool(server.library.reader, path, file_state(path))
    return reader.seconds


def film_of(server: Server, path: str, clip: Clip | None) -> Film:
    """Returns how far the film of a file is."""
    num_frames = clip.frames if clip else None
    return server.films.want(path, file_state(path), num_frames)


def finished_film(server: Server, path: str) -> StoredFile:
    """Returns the film of a file; a Refusal if there is none."""
    film = server.films.path_of(path, file_state(path))
    if not film.exists():
        raise Refusal(409, "There is no film for motion yet.")
    return StoredFile(film)


def draw(rgb: np.ndarray, size: tuple[int, int] | None, hdr: str) -> bytes:
    """Returns the PNG of a frame, enlarged to ``size`` (W, H) if there is one."""
    picture = rgb if size is None else bicubic(rgb, size)
    if hdr:
        picture = tone_map(picture, hdr)
    return png(picture)
