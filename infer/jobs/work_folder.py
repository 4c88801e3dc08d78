"""The work folder of a job, beside its output.

It holds the finished groups of frames and the model's state after the last of them. A
group counts once its record NNNNNN.json exists; everything is written, put on the disk
and only then renamed, so a job that is killed at any moment goes on from its last
complete group. Records hold the SHA-256 of their files and of themselves: a change on
the disk is told, and never becomes part of an output.

A group that was done apart from the one before it is kept as long as it may have begun
with the state after that one, and dropped if it has not.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from infer.errors import JobError
from infer.jobs.sealed import damage_of, read_sealed, sealed
from infer.jobs.trust import check_trusted, erase, is_own_file
from infer.sinks.segments import Segment
from sdvsr_jax.atomic import atomic_write, move_into_place, sync
from sdvsr_jax.weights.checksum import sha256, sha256_of_arrays

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

PUBLISHED = "published"
JOB = "job.json"
LOCK = "lock"
RECORDS = "[0-9]*.json"


def folder_of(output: str) -> Path:
    """The work folder that belongs to an output."""
    target = Path(os.path.abspath(output))
    return target.with_name(f".{target.name}.parts")


def state_digest(state: Mapping[str, np.ndarray]) -> str:
    """Digest of saved arrays: equal ones make equal frames from there on."""
    return sha256_of_arrays(sorted(state.items()))


def is_published(output: str) -> bool:
    """Whether all or a part of ``output`` was put there by a job that ended too early.

    Such a job was killed after it began to move its output into place, and before it
    had removed its work folder; the same command ends it.
    """
    published = _published_beside(folder_of(output))
    if published is None:
        return False
    folder = Path(os.path.abspath(output)).parent
    files = published["files"]
    return any(_holds(folder / name, digest) for name, digest in files.items())


def _published_beside(folder: Path) -> dict[str, Any] | None:
    """The mark of a job that began to move its output, if it can be trusted."""
    try:
        check_trusted(folder)
        published = read_sealed(folder / PUBLISHED)
    except (OSError, JobError):
        published = _read_last_mark(folder)
    return published if published and "files" in published else None


def _last_mark(folder: Path) -> Path:
    """Where the mark of a published output is while its work folder is removed.

    A folder is removed after all that is in it, so its mark must outlive it.
    """
    return folder.with_suffix(".done")  # shorter: it fits wherever the folder does


def _read_last_mark(folder: Path) -> dict[str, Any] | None:
    path = _last_mark(folder)
    try:
        return read_sealed(path) if is_own_file(path) else None
    except JobError:
        return None


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest


def _is_in_subfolder(name: str) -> bool:
    """Whether a file here is one of the output's, which move as they are."""
    return Path(name).parent != Path()


class WorkFolder:
    """Context manager; holds a lock while open, so that two jobs never work on one
    output.

    segments: the finished groups. fingerprint: facts that must be equal for a job to go
    on. gaps: groups may be finished in any order.
    """

    def __init__(
        self,
        output: str,
        fingerprint: Mapping[str, Any],
        restart: bool = False,
        gaps: bool = False,
    ) -> None:
        self.path = folder_of(output)
        self.output = Path(os.path.abspath(output))
        self.segments: list[Segment] = []
        self.ahead: dict[int, dict[str, Any]] = {}
        """Records of finished groups behind one that is not finished, by number."""
        self.reports: list[dict[str, Any]] = []
        """What the groups that are jobs of their own have reported."""
        self.published: dict[str, Any] | None = None
        """What an earlier run was about to move into place when it was stopped."""
        self.is_finished = False
        """An earlier run of the same job has moved all of it into place."""
        # As JSON gives it back, where tuples are lists.
        self._fingerprint = json.loads(json.dumps(fingerprint))
        self._restart = restart
        self._gaps = gaps
        self._lock: int | None = None
        self._digests: dict[str, str] = {}
        self._ends: dict[int, str | None] = {}
        """Digests of the states after finished groups."""

    def __enter__(self) -> Self:
        self._lock = self._take_lock()
        try:
            if self._restart:
                self._clear()
            self.published = self._read_published()
            self.is_finished = self._is_in_place()
            if not self.is_finished:
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
        return sum(len(segment.pts) for segment in self.segments)

    @property
    def num_frames_ahead(self) -> int:
        """Frames in finished groups behind one that is not finished."""
        records = self.ahead.values()
        return sum(len(record["pts"]) for record in records)

    @property
    def finished(self) -> set[int]:
        """Numbers of all finished groups."""
        numbers = range(len(self.segments))
        return {*numbers, *self.ahead}

    @property
    def images(self) -> list[str]:
        """Files of finished groups that are no videos of theirs, relative to here."""
        return [name for name in self._digests if _is_in_subfolder(name)]

    def fact(self, name: str) -> Any:
        """An entry of the job's fingerprint."""
        return self._fingerprint[name]

    def part(self, name: str) -> str:
        """Path of an unfinished file here; the next run removes it."""
        return str(self.path / f"{name}.unfinished")

    def path_of(self, number: int) -> str:
        """Where the video of a finished group is."""
        return str(self.path / f"{number:06d}.mkv")

    def commit(
        self,
        segment: Segment,
        state: Mapping[str, np.ndarray],
        images: Iterable[str] = (),
        report: Mapping[str, Any] | None = None,
        number: int | None = None,
        begins_with: str | None = None,
    ) -> None:
        """Records a complete group: its video (if one file), the state, the record.

        images: files of the group that are in the folder already, by their names
        relative to it. report: of a group that is a job of its own. number: of the
        group, if it is not the next one. begins_with: digest of the state that it was
        begun with, if that may have been another than the one after the group before;
        '' if its first frame has no past. If it was another, the group is dropped.
        """
        if number is None:
            number = len(self.segments)
        names = list(images)
        video = ""
        if segment.path:
            video = self.path_of(number)
            move_into_place(segment.path, video)
            names.append(os.path.basename(video))
        # Into an open file: to a name np.savez would append .npz.
        with (
            atomic_write(self.path / f"{number:06d}.npz") as part,
            part.open("wb") as file,
        ):
            np.savez(file, allow_pickle=False, **state)
        files = {name: sha256(self.path / name) for name in names}
        record = {
            "pts": segment.pts,
            "durations": segment.durations,
            "delay": segment.delay,
            "files": files,
            "state": sha256(self._state_of(number)),
            "ends_with": state_digest(state),
        }
        if begins_with is not None:
            record["begins_with"] = begins_with
        if report is not None:
            record["report"] = report
        self._write(f"{number:06d}.json", record)
        self.ahead[number] = record
        self._ends[number] = record["ends_with"]
        self._close_gaps()
        # A state serves the group behind it alone.
        for earlier in (number - 1, number):
            if earlier >= 0 and self._is_followed(earlier):
                self._state_of(earlier).unlink(missing_ok=True)

    def _is_followed(self, number: int) -> bool:
        """Whether the group behind a group is there, and was begun with its state."""
        following = number + 1
        if following < len(self.segments):
            return True
        record = self.ahead.get(following)
        return record is not None and self._continues(record, number)

    def _continues(self, record: Mapping[str, Any], number: int) -> bool:
        """Whether a group may have been begun with the state after group ``number``."""
        before = record.get("begins_with")
        if before in (None, ""):
            return True
        return before == self._ends.get(number)

    def state(self) -> dict[str, np.ndarray]:
        """The arrays saved with the last group before the first unfinished one."""
        return self.state_after(len(self.segments) - 1)

    def state_after(self, number: int) -> dict[str, np.ndarray]:
        """The arrays saved with a finished group whose next one is not finished."""
        path = self._state_of(number)
        if number in self.ahead:
            digest = self.ahead[number]["state"]
        else:
            digest = self._digests[path.name]
        if not _holds(path, digest):
            raise damage_of(path)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def _state_of(self, number: int) -> Path:
        return self.path / f"{number:06d}.npz"

    def _close_gaps(self) -> None:
        """Moves records that nothing is missing before to the finished segments."""
        while len(self.segments) in self.ahead:
            number = len(self.segments)
            record = self.ahead.pop(number)
            if not self._continues(record, number - 1):
                self._drop(number, record)
                return
            video = self.path_of(number)
            is_video = os.path.basename(video) in record["files"]
            self._add(record, video if is_video else "")

    def _drop(self, number: int, record: Mapping[str, Any]) -> None:
        """Removes a group that was begun with a wrong state."""
        self._ends.pop(number, None)
        (self.path / f"{number:06d}.json").unlink()
        sync(self.path)
        self._state_of(number).unlink(missing_ok=True)
        # The record went first: a kill from here on leaves files without a group, never
        # a group without its files.
        for name in record["files"]:
            (self.path / name).unlink()

    def remember(self, name: str, content: Mapping[str, Any]) -> None:
        """Keeps facts about the source that took work to find."""
        self._write(f"{name}.facts", content)

    def recall(self, name: str) -> dict[str, Any] | None:
        """Returns the value that an earlier run has stored under this name."""
        try:
            return read_sealed(self.path / f"{name}.facts")
        except JobError:
            return None

    def verify(self) -> None:
        """Raises JobError if anything of the finished groups has changed."""
        for name in self._digests:
            self._verify(name)
        for record in self.ahead.values():
            for name, digest in record["files"].items():
                if not _holds(self.path / name, digest):
                    raise damage_of(self.path / name)

    def digest_of(self, name: str) -> str:
        """SHA-256 of a file of a finished group, as recorded."""
        return self._digests[name]

    def mark_published(self, files: Mapping[str, str], report: Any = None) -> None:
        """Records that the output is about to be moved into place.

        files: SHA-256 of each file of the output, by its path from the output's folder.
        Nothing is left to do after the moves but to report and to `remove`.
        """
        self.published = {
            "job": self._fingerprint,
            "files": dict(files),
            "report": report,
        }
        self._write(PUBLISHED, self.published)

    def _is_in_place(self) -> bool:
        published = self.published or {}
        if published.get("job") != self._fingerprint:
            return False
        return self._is_complete(published["files"])

    def _is_complete(self, files: Mapping[str, str]) -> bool:
        folder = self.output.parent
        # The mark of earlier versions names no files, which says nothing.
        if not files:
            return False
        return all(_holds(folder / name, digest) for name, digest in files.items())

    def remove(self) -> None:
        """The job is done."""
        mark = _last_mark(self.path)
        if not os.path.lexists(mark) or _read_last_mark(self.path):
            with contextlib.suppress(OSError):
                # Outside its folder others could write to it, and be believed.
                os.chmod(self.path / PUBLISHED, 0o600)
                os.replace(self.path / PUBLISHED, mark)
        erase(self.path)
        self._drop_last_mark()

    def _drop_last_mark(self) -> None:
        if _read_last_mark(self.path):
            _last_mark(self.path).unlink(missing_ok=True)

    @property
    def _state_name(self) -> str:
        last = len(self.segments) - 1
        return f"{last:06d}.npz"

    def _verify(self, name: str) -> None:
        path = self.path / name
        is_movable = _is_in_subfolder(name)
        if self.published is not None and is_movable and not path.exists():
            return  # it is at its final place
        if not _holds(path, self._digests[name]):
            raise damage_of(path)

    def _records(self) -> list[Path]:
        return sorted(self.path.glob(RECORDS))

    def _add(self, record: Mapping[str, Any], video: str) -> None:
        segment = Segment(
            video,
            tuple(record["pts"]),
            tuple(record["durations"]),
            record["delay"],
        )
        self._digests.pop(self._state_name, None)
        self.segments.append(segment)
        self._digests |= record["files"]
        self._digests[self._state_name] = record["state"]
        if "report" in record:
            self.reports.append(record["report"])

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        with atomic_write(self.path / name) as part:
            part.write_text(sealed(content), "utf-8")

    def _take_lock(self) -> int:
        while True:
            is_new = self._make_folder()
            try:
                if not is_new:
                    check_trusted(self.path)
                return self._open_lock()
            except FileNotFoundError:
                # A job that ends just now has removed the folder meanwhile.
                continue
            except OSError as error:
                raise self._no_access(error) from None

    def _make_folder(self) -> bool:
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._no_access(error) from None
        return True

    def _no_access(self, error: OSError) -> JobError:
        return JobError(f"{self.path}: cannot write there ({error.strerror})")

    def _open_lock(self) -> int:
        """Returns the lock, held; FileNotFoundError if the folder is removed meanwhile.

        The file is never cut: its name may stand for another file that somebody has
        linked there.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        name = self.path / LOCK
        lock = os.open(name, flags, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(lock)
            # Its last holder may have removed it since it was opened.
            if not os.path.samestat(status, os.stat(name)):
                raise FileNotFoundError
        except BlockingIOError:
            os.close(lock)
            raise JobError(
                f"{self.path}: another job is working on this output"
            ) from None
        except OSError:
            os.close(lock)
            raise
        return lock

    def _leave(self, failed: bool) -> None:
        """Gives the lock back; a folder without a finished group is of no use."""
        if failed:
            erase(self.path)
        if self._lock is not None:
            # Last: no other job may begin in a folder that is being removed.
            os.close(self._lock)
            self._lock = None

    def _clear(self) -> None:
        # Not the lock: another job would make a new one, and hold that.
        erase(self.path, keep=LOCK)
        self._drop_last_mark()

    def _read_published(self) -> dict[str, Any] | None:
        path = self.path / PUBLISHED
        if not path.exists():
            published = _read_last_mark(self.path)
            if published and self._is_complete(published["files"]):
                return published
            self._drop_last_mark()
            return None
        try:
            return read_sealed(path)
        except JobError:
            # The mark of earlier versions is empty.
            return {"job": None, "files": {}, "report": None}

    def _check_fingerprint(self) -> None:
        if self.published and self._is_complete(self.published["files"]):
            # Nothing is lost with it: the output of that other job is complete.
            self._clear()
            self.published = None
        if not self.has_work and self.published is None:
            self._write(JOB, self._fingerprint)
            return
        before = read_sealed(self.path / JOB)
        changes = []
        for key in sorted(before.keys() | self._fingerprint.keys()):
            old = before.get(key)
            new = self._fingerprint.get(key)
            if old != new:
                changes.append(f"{key} was {old!r}, is {new!r}")
        if changes:
            raise ValueError(
                f"{self.path}: unfinished work of another job ({', '.join(changes)}): "
                "give the same options again, or --restart to throw it away"
            )

    def _drop_unfinished(self) -> None:
        for pattern in ("*.unfinished", ".*.part"):
            for path in self.path.glob(pattern):
                path.unlink()
        records = {path.stem for path in self._records()}
        for pattern in ("[0-9]*.mkv", "[0-9]*.npz"):
            for path in self.path.glob(pattern):
                if path.stem not in records:
                    path.unlink()
        sync(self.path)

    def _read_records(self) -> None:
        for path in self._records():
            record = read_sealed(path)
            try:
                number = int(path.stem)
                self.ahead[number] = record
                self._ends[number] = record.get("ends_with")
                self._close_gaps()
            except (KeyError, TypeError, ValueError):  # of another version
                raise damage_of(path) from None
        if self.ahead and not self._gaps:
            name = self.path / f"{len(self.segments):06d}.json"
            raise JobError(
                f"{name}: missing or damaged; if several workers have made what comes "
                "after it, go on with --workers, else begin again with --restart"
            )
