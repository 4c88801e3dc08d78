"""The work folder of a job, beside its output: finished groups of frames and the
model's state after the last.

A group counts once its record NNNNNN.json exists; everything is written, fsynced and
only then renamed, so a job killed at any moment goes on from its last complete group.
Records hold the SHA-256 of what they stand for and of themselves: what has changed on
the disk since is told, and never becomes part of an output.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from infer.errors import JobError
from infer.sinks.segments import Segment, sync_file
from sdvsr_jax.weights.checksum import sha256

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


def folder_of(output: str) -> Path:
    """The work folder that belongs to an output."""
    target = Path(os.path.abspath(output))
    return target.with_name(f".{target.name}.parts")


def clear_finished(output: str) -> None:
    """Remove the work folder of a job that was killed after its output was in place."""
    folder = folder_of(output)
    left = [
        path
        for kind in ("*.unfinished", "frames/*", "parts/*")
        for path in folder.glob(kind)
    ]
    if (folder / PUBLISHED).exists() and not left and os.path.exists(output):
        shutil.rmtree(folder, ignore_errors=True)


PUBLISHED = "published"
RECORDS = "[0-9]*.json"


def read_sealed(path: Path) -> dict[str, Any]:
    """A JSON object with its own checksum, as the work folder keeps it; a JobError if
    it is damaged.
    """
    try:
        body, digest = path.read_text("utf-8").splitlines()
        if hashlib.sha256(body.encode()).hexdigest() == digest:
            return dict(json.loads(body))
    except (OSError, ValueError, TypeError):
        pass
    raise _damaged(path)


def _sealed(content: Mapping[str, Any]) -> str:
    body = json.dumps(content)
    return f"{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n"


def _damaged(path: Path) -> JobError:
    return JobError(
        f"{path}: missing or damaged; give the same command with --restart to begin again"
    )


class WorkFolder:
    """Context manager; holds a lock while open, so that two jobs never work on one
    output.
    """

    def __init__(
        self, output: str, fingerprint: Mapping[str, Any], restart: bool = False
    ) -> None:
        self.path = folder_of(output)
        self._fingerprint = json.loads(json.dumps(fingerprint))
        self._restart = restart
        self._lock: IO[str] | None = None
        self._digests: dict[str, str] = {}
        self.segments: list[Segment] = []
        self.was_published = False
        """An earlier run was stopped while it moved the finished output into place."""

    def __enter__(self) -> Self:
        self._lock = self._take_lock()
        try:
            if self._restart:
                self._clear()
            self._check_fingerprint()
            self._read_records()
            self.verify()
            self._drop_unfinished()
        except BaseException:
            self._leave(failed=not self.has_work)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._leave(failed=kind is not None and not self.has_work)

    @property
    def has_work(self) -> bool:
        """Whether a group is finished here, or in a work folder within this one."""
        return any(self.path.rglob(RECORDS))

    @property
    def num_frames(self) -> int:
        """Frames in finished groups."""
        return sum(len(s.pts) for s in self.segments)

    def part(self, name: str) -> str:
        """Path of an unfinished file in the folder; leftovers are removed by the next
        run.
        """
        return str(self.path / f"{name}.unfinished")

    def path_of(self, number: int) -> str:
        """Where the video of a finished group is."""
        return str(self.path / f"{number:06d}.mkv")

    def commit(
        self,
        segment: Segment,
        state: Mapping[str, np.ndarray],
        images: Iterable[str] = (),
    ) -> None:
        """A group is complete: put its video (if one file), the state and the record in
        place, in this order.

        images: files of the group that are in the folder already, by their names
        relative to it.
        """
        number = len(self.segments)
        final = self.path_of(number)
        if segment.path:
            os.replace(segment.path, final)
        with open(self.part("state"), "wb") as file:
            np.savez(file, allow_pickle=False, **state)
        self._publish("state", f"{number:06d}.npz")
        names = [*images, *([f"{number:06d}.mkv"] if segment.path else [])]
        files = {name: sha256(self.path / name) for name in names}
        saved = sha256(self.path / f"{number:06d}.npz")
        self._write(
            f"{number:06d}.json",
            {
                "pts": segment.pts,
                "durations": segment.durations,
                "delay": segment.delay,
                "files": files,
                "state": saved,
            },
        )
        self._add(
            Segment(
                final if segment.path else "",
                segment.pts,
                segment.durations,
                segment.delay,
            ),
            files,
            saved,
        )
        if number:
            (self.path / f"{number - 1:06d}.npz").unlink(missing_ok=True)

    def state(self) -> dict[str, np.ndarray]:
        """The arrays saved with the last finished group."""
        self._verify(self._state_name)
        with np.load(self.path / self._state_name, allow_pickle=False) as arrays:
            return dict(arrays)

    def verify(self) -> None:
        """JobError if anything that belongs to finished groups is no longer what was
        written.
        """
        for name in self._digests:
            self._verify(name)

    def mark_published(self) -> None:
        """The output is about to be moved into place; nothing is left to do after that
        but `remove`.
        """
        Path(self.part(PUBLISHED)).touch()
        self._publish(PUBLISHED, PUBLISHED)

    def remove(self) -> None:
        """The job is done."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _state_name(self) -> str:
        return f"{len(self.segments) - 1:06d}.npz"

    def _verify(self, name: str) -> None:
        path = self.path / name
        if self.was_published and not path.exists():
            return  # it is at its final place
        if not path.is_file() or sha256(path) != self._digests[name]:
            raise _damaged(path)

    def _records(self) -> list[Path]:
        return sorted(self.path.glob(RECORDS))

    def _add(self, segment: Segment, files: Mapping[str, str], state: str) -> None:
        self._digests.pop(self._state_name, None)
        self.segments.append(segment)
        self._digests |= {**files, self._state_name: state}

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        part = Path(name).stem
        Path(self.part(part)).write_text(_sealed(content), "utf-8")
        self._publish(part, name)

    def _publish(self, part: str, name: str) -> None:
        sync_file(self.part(part))
        os.replace(self.part(part), self.path / name)
        sync_file(str(self.path))

    def _take_lock(self) -> IO[str]:
        while True:
            try:
                self.path.mkdir(exist_ok=True)
                lock = self._open_lock()
            except OSError as error:
                raise JobError(
                    f"{self.path}: cannot write there ({error.strerror})"
                ) from None
            if lock is not None:
                return lock

    def _open_lock(self) -> IO[str] | None:
        """The lock, held; None if a job that ends just now removed the folder
        meanwhile.
        """
        try:
            lock = open(self.path / "lock", "w")  # noqa: SIM115
        except FileNotFoundError:
            return None
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name)):
                    raise FileNotFoundError
        except FileNotFoundError:
            lock.close()
            return None
        except BlockingIOError:
            lock.close()
            raise JobError(
                f"{self.path}: another job is working on this output"
            ) from None
        return lock

    def _leave(self, failed: bool) -> None:
        """Give the lock back; a folder without any finished group is of no use to
        anybody.
        """
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
        if not self.has_work:
            self._write("job.json", self._fingerprint)
            return
        before = read_sealed(path)
        keys = sorted(before.keys() | self._fingerprint.keys())
        changed = [k for k in keys if before.get(k) != self._fingerprint.get(k)]
        if changed:
            words = ", ".join(
                f"{k} was {before.get(k)!r}, is {self._fingerprint.get(k)!r}"
                for k in changed
            )
            raise ValueError(
                f"{self.path}: unfinished work of another job ({words}): give the same options again, "
                "or --restart to throw it away"
            )

    def _drop_unfinished(self) -> None:
        (self.path / PUBLISHED).unlink(missing_ok=True)
        for path in self.path.glob("*.unfinished"):
            path.unlink()
        records = {p.stem for p in self._records()}
        for path in [*self.path.glob("[0-9]*.mkv"), *self.path.glob("[0-9]*.npz")]:
            if path.stem not in records:
                path.unlink()

    def _read_records(self) -> None:
        self.was_published = (self.path / PUBLISHED).exists()
        for number, _ in enumerate(self._records()):
            path = self.path / f"{number:06d}.json"
            record, video = read_sealed(path), path.with_suffix(".mkv")
            try:
                segment = Segment(
                    str(video) if video.name in record["files"] else "",
                    tuple(record["pts"]),
                    tuple(record["durations"]),
                    record["delay"],
                )
                self._add(segment, record["files"], record["state"])
            except (KeyError, TypeError):  # of another version of this program
                raise _damaged(path) from None
