"""Films for motion where a browser cannot play a file itself (`infer.ui.film_worker`):
one is made at a time, and the latest are kept.
"""

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path

from infer.ui.disk import free_space
from infer.ui.refusal import Refusal
from infer.ui.schemas import Film

KEPT = 8
"""Films; they can be made again."""


class Films:
    """All films of a server. spare: bytes of the disk that they leave free."""

    def __init__(self, folder: Path, spare: float) -> None:
        self._folder = folder
        self._spare = spare
        self._work: tuple[Path, subprocess.Popen[bytes]] | None = None
        self._failed: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            # of a server that was killed
            if path.suffix != ".mp4" or path.name.startswith("."):
                path.unlink()

    def path_of(self, source: str, state: tuple[int, int]) -> Path:
        """Returns where the film of a file is, once it is made; state: size and time of
        the file's last change.
        """
        facts = repr((source, state))
        digest = hashlib.sha256(facts.encode()).hexdigest()
        return self._folder / f"{digest[:24]}.mp4"

    def want(self, source: str, state: tuple[int, int], frames: int | None) -> Film:
        """Returns how far the film of a file is; begins it, as soon as no other one is
        being made. frames: of the file.
        """
        path = self.path_of(source, state)
        if path.exists():
            return Film(state="ready", share=1.0)
        self._look()
        if path in self._failed:
            return Film(state="failed", share=None)
        if self._work is None:
            self._begin(source, path)
        count = self._count(path)
        share = min(0.99, count / frames) if frames else None
        return Film(state="working", share=share)

    def end(self) -> None:
        """End the work."""
        if self._work is not None:
            _, child = self._work
            child.kill()
            child.wait()
            self._work = None

    def _begin(self, source: str, path: Path) -> None:
        if free_space(self._folder) < self._spare:
            raise Refusal(
                507, "The server's disk is full: delete jobs or inputs first."
            )
        self._forget_old()
        command = [sys.executable, "-m", "infer.ui.film_worker", source, str(path)]
        nothing = subprocess.DEVNULL
        # Ctrl-C is for the server, which then ends it
        child = subprocess.Popen(
            command, stdin=nothing, stdout=nothing, start_new_session=True
        )
        self._work = (path, child)

    def _look(self) -> None:
        """Find out whether the work has ended, and how."""
        if self._work is None:
            return
        path, child = self._work
        if child.poll() is None:
            return
        self._work = None
        if child.returncode:
            self._failed.add(path)
        Path(f"{path}.count").unlink(missing_ok=True)

    def _count(self, path: Path) -> int:
        # between opening and writing the file is empty
        with contextlib.suppress(OSError, ValueError):
            return int(Path(f"{path}.count").read_text("ascii"))
        return 0

    def _forget_old(self) -> None:
        films = list(self._folder.glob("*.mp4"))
        films.sort(key=lambda path: path.stat().st_mtime)
        # one more will come
        surplus = max(0, len(films) + 1 - KEPT)
        for film in films[:surplus]:
            film.unlink(missing_ok=True)
