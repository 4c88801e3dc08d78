"""Routes of results: the file, its frames, and views beside the source."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, StreamingResponse

from infer.ui.archive import zip_of
from infer.ui.pictures import bicubic, flicker, png, psnr, ssim, to_8_bit
from infer.ui.refusal import Refusal
from infer.ui.routes_inputs import (
    FILE,
    FOREVER,
    PNG,
    Answers,
    Name,
    Number,
    StoredFile,
    draw,
    film_of,
    finished_film,
    times_of,
)
from infer.ui.schemas import MOST, Film, JobRecord, Quality
from infer.ui.server import Server, file_state

ROWS = 500
"""Moments of a flicker view: as many rows as fit on a screen."""
DOWNLOAD: Answers = {
    **FILE,
    200: {
        "content": {"application/octet-stream": {}, "application/zip": {}},
        "description": "The file.",
    },
}
Share = Annotated[float, Query(ge=0, le=1)]


def result_routes(server: Server) -> APIRouter:
    """Returns the routes of results under /api/jobs."""
    routes = APIRouter(prefix="/api", tags=["results"])
    queue = server.queue

    @routes.get("/jobs/{name}/download", operation_id="download", responses=DOWNLOAD)
    async def download(name: Name) -> Response:
        """The result as a file to keep, in ranges if asked; a folder of frames as a ZIP
        archive.
        """
        job = queue.record(name).job
        path = _output(server, name)
        if not path.is_dir():
            return StoredFile(path, filename=job.output_name)
        return _zip_response(path, job.output_name)

    @routes.get("/jobs/{name}/video", operation_id="resultVideo", responses=FILE)
    async def get_video(name: Name) -> FileResponse:
        """The result to be played in the page."""
        return StoredFile(_result(server, name))

    @routes.post("/jobs/{name}/film", operation_id="makeResultFilm")
    async def make_film(name: Name) -> Film:
        """Make a copy for motion, for browsers that cannot play the result; asked
        again, this tells how far it is.
        """
        path = str(_result(server, name))
        job = queue.record(name).job
        return film_of(server, path, job.clip)

    @routes.get("/jobs/{name}/film", operation_id="resultFilm", responses=FILE)
    async def get_film(name: Name) -> FileResponse:
        """The copy for motion, in ranges if asked."""
        path = str(_result(server, name))
        return finished_film(server, path)

    @routes.get("/jobs/{name}/times", operation_id="resultTimes")
    async def get_times(name: Name) -> list[float]:
        """The second at which each frame of the result is shown."""
        path = str(_result(server, name))
        return await times_of(server, path)

    @routes.get("/jobs/{name}/frames/{number}", operation_id="frame", responses=PNG)
    async def get_frame(name: Name, number: Number) -> Response:
        """A frame of the result, lossless; of a preview also while it works."""
        record = queue.record(name)
        if record.job.kind == "preview":
            file = _preview_frame(server, record, number)
            data = file.read_bytes()
        else:
            path = str(_result(server, name))
            rgb = await server.frame(path, number)
            hdr = record.job.clip.hdr if record.job.clip else ""
            data = await run_in_threadpool(draw, rgb, None, hdr)
        return Response(data, media_type="image/png", headers=FOREVER)

    @routes.get("/jobs/{name}/flicker", operation_id="flicker", responses=PNG)
    async def get_flicker(
        name: Name,
        x0: Share,
        y0: Share,
        x1: Share,
        y1: Share,
        side: Literal["result", "bicubic"] = "result",
        start: Annotated[int, Query(ge=0, le=MOST)] = 0,
        count: Annotated[int, Query(ge=2, le=ROWS)] = 100,
    ) -> Response:
        """The pixels along a line through time: one row for each frame. The ends of the
        line are shares of width and height.
        """
        record = queue.record(name)
        line = (x0, y0), (x1, y1)
        numbers = range(start, start + count)
        picture = await run_in_threadpool(_flicker, server, record, side, numbers, line)
        return Response(picture, media_type="image/png")

    @routes.get("/jobs/{name}/quality", operation_id="quality")
    async def get_quality(
        name: Name,
        reference: Annotated[str, Query(min_length=1, max_length=64)],
        frame: Annotated[int, Query(ge=0, le=MOST)] = 0,
    ) -> Quality:
        """How close a frame of the result comes to the same frame of a reference."""
        path = server.inputs.ready(reference).path
        record = queue.record(name)
        return await run_in_threadpool(_quality, server, record, path, frame)

    return routes


def _zip_response(folder: Path, name: str) -> StreamingResponse:
    # ASCII is what all browsers agree on; the folder inside has the real name
    ascii_name = name.encode("ascii", "replace").decode()
    plain = ascii_name.replace("?", "_")
    headers = {"content-disposition": f'attachment; filename="{plain}.zip"'}
    archive = zip_of(folder)
    return StreamingResponse(archive, media_type="application/zip", headers=headers)


def _output(server: Server, name: str) -> Path:
    """Returns the finished file or folder of a job; a Refusal if there is none."""
    record = server.queue.record(name)
    path = Path(record.output)
    if record.job.state != "done" or not path.exists():
        raise Refusal(409, f"There is no result yet: the job is {record.job.state}.")
    return path


def _result(server: Server, name: str) -> Path:
    """Returns the finished file of a job; a Refusal if there is none."""
    path = _output(server, name)
    if path.is_dir():
        raise Refusal(409, "The result is a folder of frames: take them one by one.")
    return path


def _preview_frame(server: Server, record: JobRecord, number: int) -> Path:
    """Returns the file of a frame of a preview, complete."""
    file = f"{_start_of(record) + number:08d}.png"
    output = Path(record.output)
    work = output.with_name(f".{output.name}.parts")
    job = record.job
    # the command counts a frame after its file is on the disk
    if job.state == "done" or number < job.progress.frames:
        for path in (output / file, work / "frames" / file):
            if path.exists():
                return path
    raise Refusal(404, f"Frame {number} is not there yet.")


def _start_of(record: JobRecord) -> int:
    return record.job.options.get("start", 0)


def _pixels(server: Server, record: JobRecord, side: str, number: int) -> Any:
    """Returns a frame of the result or of the enlarged source, as it is compared."""
    if record.job.kind == "preview":
        path = str(_preview_frame(server, record, number))
        rgb = server.library.rgb(path, file_state(path), 0)
    else:
        path = str(_result(server, record.job.id))
        rgb = server.library.rgb(path, file_state(path), number)
    if side == "result":
        return rgb
    path = record.source
    place = _start_of(record) + number
    source = server.library.rgb(path, file_state(path), place)
    height, width = rgb.shape[:2]
    return bicubic(source, (width, height))


def _flicker(
    server: Server, record: JobRecord, side: str, numbers: range, line: Any
) -> bytes:
    total = record.job.progress.frames
    ready = [number for number in numbers if number < total]
    if not ready:
        raise Refusal(404, f"There is no frame {numbers.start} yet.")
    frames = (_pixels(server, record, side, number) for number in ready)
    return png(flicker(frames, *line))


def _size_of(frame: np.ndarray) -> str:
    height, width = frame.shape[:2]
    return f"{width}x{height}"


def _quality(server: Server, record: JobRecord, reference: str, number: int) -> Quality:
    place = _start_of(record) + number
    truth = server.library.rgb(reference, file_state(reference), place)
    result = _pixels(server, record, "result", number)
    if truth.shape != result.shape:
        size = _size_of(result)
        expected = _size_of(truth)
        sentence = f"The reference has {expected} pixels, the result {size}."
        raise Refusal(409, sentence)
    goal = to_8_bit(truth)
    ours = to_8_bit(result)
    plain = to_8_bit(_pixels(server, record, "bicubic", number))
    return Quality(
        frame=number,
        psnr=psnr(ours, goal),
        bicubic_psnr=psnr(plain, goal),
        ssim=ssim(ours, goal),
        bicubic_ssim=ssim(plain, goal),
    )
