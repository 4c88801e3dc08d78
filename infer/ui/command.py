"""`python -m infer ui`: starts the server and opens the page."""

import socket
import sys
import threading
import webbrowser

from infer.errors import JobError
from infer.ui.settings import Settings, parse

MISSING = {"fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic"}


def main(arguments: list[str]) -> int:
    """Serve until interrupted; returns the exit status."""
    settings = parse(arguments)
    try:
        import uvicorn

        from infer.ui.app import build_app
    except ModuleNotFoundError as error:
        if error.name not in MISSING:
            raise
        hint = "pip install 'sdvsr-jax[ui]'"
        raise JobError(f"the page needs {error.name}: {hint}") from None
    token = settings.secret()
    listener = _listen(settings)
    port = listener.getsockname()[1]
    link = link_to(settings, port, token)
    app = build_app(settings, token)
    config = uvicorn.Config(
        app,
        log_level="warning",
        # an open event stream would hold up the end for ever
        timeout_graceful_shutdown=2,
        ws_max_size=8 * 2**20,
        server_header=False,
    )
    print(f"page     {link}", file=sys.stderr)
    print(f"files    {settings.data_folder()}", file=sys.stderr)
    if settings.browser:
        # after the server answers; a browser that does not open is no failure
        timer = threading.Timer(1.0, webbrowser.open, [link])
        timer.daemon = True
        timer.start()
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise JobError(f"{place}: cannot listen there ({error.strerror})") from None
    # connections that come before the application is ready wait instead of failing
    listener.listen()
    return listener


def link_to(settings: Settings, port: int, token: str) -> str:
    """Returns the address of the page, with the token if there is one."""
    anywhere = settings.host in ("0.0.0.0", "::")
    host = socket.gethostname() if anywhere else settings.host
    name = settings.public[0] if settings.public else host
    address = f"[{name}]" if ":" in name else name
    query = f"?token={token}" if token else ""
    prefix = settings.prefix.rstrip("/")
    return f"http://{address}:{port}{prefix}/{query}"
