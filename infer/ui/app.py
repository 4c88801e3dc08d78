"""The application: routes, the page's files, and one form of error."""

import socket
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from infer.errors import JobError
from infer.ui.disk import free_space
from infer.ui.inputs import CHUNK, DEMO
from infer.ui.live import live_routes
from infer.ui.planning import CONTAINERS
from infer.ui.refusal import Refusal
from infer.ui.routes_inputs import input_routes, source_routes
from infer.ui.routes_jobs import job_routes
from infer.ui.routes_results import result_routes
from infer.ui.schemas import About, Health, Problem
from infer.ui.security import Guard
from infer.ui.server import Server, program_version
from infer.ui.settings import GIB, Settings

ANYWHERE = ("0.0.0.0", "::")
STATIC = Path(__file__).parent / "static"
REFUSALS = (400, 401, 403, 404, 409, 413, 421, 422, 429, 507)
SUMMARY = "Upscale videos: the interface of `python -m infer ui`, which its page uses."


def build_app(settings: Settings, token: str = "") -> Any:
    """Returns the ASGI application; token: asked for in every request unless empty."""
    server = Server(settings)
    problem: Any = {"model": Problem, "description": "One sentence says why."}
    app = FastAPI(
        title="sdvsr_jax",
        summary=SUMMARY,
        version=program_version(),
        lifespan=server.running,
        # pages of documentation that load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses=dict.fromkeys(REFUSALS, problem),
    )
    app.state.server = server
    _add_errors(app)
    for build in (input_routes, source_routes, job_routes, result_routes, live_routes):
        app.include_router(build(server))
    _add_server_routes(app, server)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    own = socket.gethostname() if settings.host in ANYWHERE else settings.host
    hosts = [own, *settings.public]
    return Guard(app, hosts, token, settings.prefix, settings.rate)


def _add_server_routes(app: FastAPI, server: Server) -> None:
    settings = server.settings

    @app.get("/api/about", tags=["server"], operation_id="about")
    async def get_about() -> About:
        """Facts for the page to draw itself from, the form of options among them."""
        return About(
            version=program_version(),
            demo=DEMO.exists(),
            roots=[str(root) for root in settings.roots()],
            models=list(server.models),
            form=server.form.model_json_schema(),
            containers=list(CONTAINERS),
            max_upload=int(settings.max_upload * GIB),
            chunk=CHUNK,
        )

    @app.get("/healthz", tags=["server"], operation_id="health")
    async def get_health() -> Health:
        """Whether the server works, and whether there is room for uploads."""
        free = free_space(server.folder)
        counts = server.count()
        full = free < settings.spare_space * GIB
        return Health(
            status="full" if full else "ok",
            free=free,
            running=counts.get("running", 0),
            queued=counts.get("queued", 0),
        )

    @app.get(
        "/metrics",
        tags=["server"],
        operation_id="metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Metrics."}},
    )
    async def get_metrics() -> Response:
        """Numbers for Prometheus."""
        server.update_metrics()
        text = generate_latest(server.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)


def _add_errors(app: FastAPI) -> None:
    """Every failure becomes a `Problem`."""

    @app.exception_handler(Refusal)
    async def refuse(request: Request, error: Refusal) -> JSONResponse:
        return _problem(error.status, error.sentence)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        # without "body" or "query" in front
        parts = first["loc"][1:]
        place = ".".join(map(str, parts))
        message = first["msg"]
        sentence = f"{place}: {message}." if place else f"{message}."
        return _problem(422, sentence)

    @app.exception_handler(HTTPException)
    async def refuse_http(request: Request, error: HTTPException) -> JSONResponse:
        response = _problem(error.status_code, f"{error.detail}.")
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(JobError)
    async def refuse_video(request: Request, error: JobError) -> JSONResponse:
        return _problem(422, f"{error}.")

    @app.exception_handler(FileNotFoundError)
    async def refuse_gone(request: Request, error: FileNotFoundError) -> JSONResponse:
        return _problem(409, "The file is no longer there.")

    @app.exception_handler(OSError)
    async def refuse_disk(request: Request, error: OSError) -> JSONResponse:
        return _problem(507, f"The server's disk refuses: {error.strerror}.")

    @app.exception_handler(Exception)
    async def admit_fault(request: Request, error: Exception) -> JSONResponse:
        # starlette goes on with the exception, and uvicorn prints it
        return _problem(500, "The server made a mistake; what it printed says which.")


def _problem(status: int, sentence: str) -> JSONResponse:
    problem = Problem(error=sentence)
    return JSONResponse(problem.model_dump(), status)
