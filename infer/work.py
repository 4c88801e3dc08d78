"""The work folder of a job, beside its output: finished groups of frames and the model's state after the last.

A group counts once its record NNNNNN.json exists; everything is written, fsynced and only then renamed, so a job
killed at any moment goes on from its last complete group.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from infer.errors import JobError
from infer.media.segment import Segment, sync_file

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


def folder_of(output: str) -> Path:
    """The work folder that belongs to an output."""
    target = Path(output.rstrip("/"))
    return target.with_name(f".{target.name}.parts")


def clear_finished(output: str) -> None:
    """Remove the work folder of a job that was killed after its output was in place."""
    folder = folder_of(output)
    left = [*folder.glob("*.unfinished"), *folder.glob("frames/*")]
    if (folder / PUBLISHED).exists() and not left and os.path.exists(output):
        shutil.rmtree(folder, ignore_errors=True)


PUBLISHED = "published"


class WorkFolder:
    """Context manager; holds a lock while open, so that two jobs never work on one output."""

    def __init__(self, output: str, fingerprint: Mapping[str, Any], restart: bool = False) -> None:
        self.path = folder_of(output)
        self._fingerprint = json.loads(json.dumps(fingerprint))
        self._restart = restart
        self._lock: IO[str] | None = None
        self.segments: list[Segment] = []

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise JobError(f"{self.path.parent}: cannot write there ({error.strerror})") from None
        try:
            self._lock = self._take_lock()
            if self._restart:
                self._clear()
            self._check_fingerprint()
            self._drop_unfinished()
            self.segments = [self._read_record(p) for p in sorted(self.path.glob("[0-9]*.json"))]
        except BaseException:
            self._leave(failed=self._lock is not None and not list(self.path.glob("[0-9]*.json")))
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._leave(failed=kind is not None and not self.segments)

    @property
    def num_frames(self) -> int:
        """Frames in finished groups."""
        return sum(len(s.pts) for s in self.segments)

    def part(self, name: str) -> str:
        """Path of an unfinished file in the folder; leftovers are removed by the next run."""
        return str(self.path / f"{name}.unfinished")

    def path_of(self, number: int) -> str:
        """Where the video of a finished group is."""
        return str(self.path / f"{number:06d}.mkv")

    def commit(self, segment: Segment, state: Mapping[str, np.ndarray]) -> None:
        """A group is complete: put its video (if one file), the state and the record in place, in this order."""
        number = len(self.segments)
        final = self.path_of(number)
        if segment.path:
            os.replace(segment.path, final)
        with open(self.part("state"), "wb") as file:
            np.savez(file, allow_pickle=False, **state)
        self._publish("state", f"{number:06d}.npz")
        record = {"pts": segment.pts, "durations": segment.durations, "delay": segment.delay}
        Path(self.part("record")).write_text(json.dumps(record), "utf-8")
        self._publish("record", f"{number:06d}.json")
        self.segments.append(Segment(final if segment.path else "", segment.pts, segment.durations, segment.delay))
        if number:
            (self.path / f"{number - 1:06d}.npz").unlink(missing_ok=True)

    def state(self) -> dict[str, np.ndarray]:
        """The arrays saved with the last finished group."""
        path = self.path / f"{len(self.segments) - 1:06d}.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError):
            raise JobError(f"{path}: the saved state is damaged; run again with --restart") from None

    def mark_published(self) -> None:
        """The output is about to be moved into place; nothing is left to do after that but `remove`."""
        Path(self.part(PUBLISHED)).touch()
        self._publish(PUBLISHED, PUBLISHED)

    def remove(self) -> None:
        """The job is done."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _publish(self, part: str, name: str) -> None:
        sync_file(self.part(part))
        os.replace(self.part(part), self.path / name)
        sync_file(str(self.path))

    def _take_lock(self) -> IO[str]:
        lock = open(self.path / "lock", "w")  # noqa: SIM115 (held as long as the job runs)
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                raise JobError(f"{self.path}: another job is working on this output") from None
        return lock

    def _leave(self, failed: bool) -> None:
        """Give the lock back; a folder without any finished group is of no use to anybody."""
        if failed:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _clear(self) -> None:
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()

    def _check_fingerprint(self) -> None:
        path = self.path / "job.json"
        if not path.exists():
            Path(self.part("job")).write_text(json.dumps(self._fingerprint, indent=1), "utf-8")
            self._publish("job", "job.json")
            return
        before = json.loads(path.read_text("utf-8"))
        keys = sorted(before.keys() | self._fingerprint.keys())
        changed = [k for k in keys if before.get(k) != self._fingerprint.get(k)]
        if changed:
            words = ", ".join(f"{k} was {before.get(k)!r}, is {self._fingerprint.get(k)!r}" for k in changed)
            raise ValueError(f"{self.path}: unfinished work of another job ({words}): give the same options again, "
                             "or --restart to throw it away")  # fmt: skip

    def _drop_unfinished(self) -> None:
        (self.path / PUBLISHED).unlink(missing_ok=True)
        for path in self.path.glob("*.unfinished"):
            path.unlink()
        records = {p.stem for p in self.path.glob("[0-9]*.json")}
        for path in [*self.path.glob("[0-9]*.mkv"), *self.path.glob("[0-9]*.npz")]:
            if path.stem not in records:
                path.unlink()

    def _read_record(self, path: Path) -> Segment:
        record = json.loads(path.read_text("utf-8"))
        video = path.with_suffix(".mkv")
        return Segment(str(video) if video.exists() else "", tuple(record["pts"]), tuple(record["durations"]),
                       record["delay"])  # fmt: skip
