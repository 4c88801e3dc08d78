"""The options of `python -m infer ui`."""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

arg = tyro.conf.arg

GIB = 2**30
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """See, compare and queue videos in the browser.

    The server listens on this machine only, unless --host says otherwise; then the link
    that it prints holds a token, and nothing is answered without it. Jobs are processes
    of their own: they go on when the page or the server ends.
    """

    host: str = "127.0.0.1"
    """Address to listen on; another one than this machine's own demands the token."""
    port: int = 8320
    """0 takes a free one."""
    prefix: str = ""
    """Path under which a proxy shows the page, such as /upscale."""
    public: Annotated[tuple[str, ...], arg(metavar="HOST")] = ()
    """Names by which a browser may call this server, such as video.example.org."""
    token: Annotated[str, arg(metavar="TEXT")] = field(
        default_factory=lambda: os.environ.get("SDVSR_UI_TOKEN", "")
    )
    """Instead of a random one; better given by the variable SDVSR_UI_TOKEN, which other
    users of the machine do not see.
    """
    root: Annotated[tuple[str, ...], arg(metavar="FOLDER")] = ()
    """Folders whose videos the page may open where they are, without an upload."""
    folder: Annotated[str | None, arg(metavar="FOLDER")] = None
    """Where uploads, the queue and results are; ~/.local/share/sdvsr/ui by default."""
    model: Annotated[tuple[str, ...], arg(aliases=("-n",))] = ("nano",)
    """Models to choose from, as the command takes them; the first is the default."""
    browser: bool = True
    """Open the page."""
    at_once: int = 1
    """Jobs that run at the same time."""
    max_upload: float = 20.0
    """GiB of one file."""
    max_inputs: int = 200
    """Files that are there at the same time."""
    max_jobs: int = 1000
    """Jobs in the queue and the history."""
    max_space: float = 200.0
    """GiB that uploads and results may take together."""
    spare_space: float = 1.0
    """GiB of the disk that uploads leave free."""
    rate: float = 100.0
    """Requests per second of one address; five seconds' worth may come at once."""

    def data_folder(self) -> Path:
        """The absolute folder of uploads, queue and results."""
        if self.folder is not None:
            return Path(self.folder).absolute()
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        return Path(base).expanduser() / "sdvsr" / "ui"

    def roots(self) -> tuple[Path, ...]:
        """The folders of --root without symbolic links; ValueError if one is absent."""
        folders = []
        for root in self.root:
            folder = Path(root)
            if not folder.is_dir():
                raise ValueError(f"--root {root}: no such folder")
            folders.append(folder.resolve())
        return tuple(folders)

    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the server."""
        return self.host in LOOPBACK

    def secret(self) -> str:
        """The token that every request must show; empty on this machine's address."""
        if self.token:
            return self.token
        if self.is_local():
            return ""
        return secrets.token_urlsafe(24)

    def models(self) -> dict[str, str]:
        """Name on the page -> model as the command takes it."""
        return {Path(model).stem: model for model in self.model}


def parse(arguments: list[str]) -> Settings:
    """Returns a command line's settings; ValueError for values that cannot work."""
    settings = tyro.cli(Settings, args=arguments, prog="python -m infer ui")
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Raises ValueError for settings that cannot work."""
    if not 0 <= settings.port < 65536:
        raise ValueError(f"--port {settings.port}: expected 0 to 65535")
    if settings.prefix and not settings.prefix.startswith("/"):
        raise ValueError(f"--prefix {settings.prefix}: expected it to begin with /")
    if not settings.model:
        raise ValueError("--model: expected one at least")
    least = {"at_once": 1, "max_inputs": 1, "max_jobs": 1, "rate": 1}
    for name, low in least.items():
        value = getattr(settings, name)
        if value < low:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {value:g}: expected at least {low}")
    settings.roots()
