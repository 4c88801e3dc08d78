"""Videos in buckets and on servers: read to this machine, done here or by workers, and
their outputs written back.

    python -m infer --video s3://in/ --output s3://out/

What fsspec reaches by a name with a scheme is reached so. The copies lie in the user's
cache until their outputs are stored, so that the same command goes on after any end;
as many at a time as the disk has room for.
"""

import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infer.command.bucket_lock import BucketLock
from infer.command.failure import one_line
from infer.command.inputs import is_remote
from infer.command.report import check_report, write_report
from infer.console import say
from infer.errors import JobError
from infer.options import Options
from sdvsr_jax.atomic import atomic_write
from sdvsr_jax.video_names import VIDEO_SUFFIXES
from sdvsr_jax.weights.hub import cache_folder

WHOLE = ("s3", "gs", "gcs", "az", "abfs", "memory")
"""Schemes where a file appears complete or not at all."""
DIGESTS = ("ETag", "etag", "md5Hash", "content_md5")
TIMES = ("mtime", "created", "LastModified", "last_modified")
"""Facts of a file that change with it, by the names that file systems give them."""
SHARE = 0.5
"""Of the free disk space that copies may take; outputs need the rest."""

Run = Callable[[Options], int]


@dataclass(frozen=True)
class Copy:
    """A remote video and its place on this machine.

    below: its path from the input folder. identity: changes with the video. root: the
    folder of a command's copies and their outputs.
    """

    url: str
    below: str
    identity: str
    size: int
    root: Path

    @property
    def name(self) -> str:
        """Of its folders; another video under the same name has another."""
        return _digest(self.url, self.identity)

    @property
    def video(self) -> Path:
        """The copy."""
        file = os.path.basename(self.below)
        return self.root / "in" / self.name / file

    @property
    def results(self) -> Path:
        """Folder of the outputs until they are stored."""
        return self.root / "out" / self.name

    @property
    def record(self) -> Path:
        """The stored output of a video, and its identity."""
        return self.root / f"{self.name}.json"


def run_remote(options: Options, run: Run) -> int:
    """Does every remote video that is not done; returns 1 if any failed.

    run: the command for files of this machine.
    """
    _require_remote(options)
    if options.report:
        check_report(options.report, options.overwrite, [])
    copies = list(_find(options))
    system, place = _open(str(options.output))
    with BucketLock(system, place, _root_of(options).name) as lock:
        return _run_locked(options, run, copies, lock)


def _run_locked(
    options: Options, run: Run, copies: Sequence[Copy], lock: BucketLock
) -> int:
    queue = [copy for copy in copies if not _is_stored(copy, options)]
    num_inputs = len(copies)
    num_skipped = num_inputs - len(queue)
    if num_skipped:
        say(f"skipped  {num_skipped} of {num_inputs} inputs: their outputs are stored")
    root = _root_of(options)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _keep_only(root / "out", queue)
    errand = Errand(options, root, run, lock)
    while queue:
        portion = _next_portion(queue, root)
        queue = [copy for copy in queue if copy not in portion]
        errand.do(portion)
    if options.report:
        write_report(options.report, options.overwrite, errand.reports)
    return 1 if errand.has_failed else 0


def _require_remote(options: Options) -> None:
    local = [path for path in options.video if not is_remote(path)]
    if local:
        raise ValueError(
            f"{local[0]}: is on this machine, and other inputs or the output are not: "
            "expected all of them in buckets, or none"
        )
    if not is_remote(options.output):
        raise ValueError(
            f"--output {options.output or 'is missing'}: expected a remote folder, as "
            "the input is, such as s3://out/"
        )


class Errand:
    """The work of one command, portion by portion. reports: for --report."""

    def __init__(
        self, options: Options, root: Path, run: Run, lock: BucketLock
    ) -> None:
        self._options = options
        self._root = root
        self._run = run
        self._lock = lock
        self.reports: list[dict[str, Any]] = []
        self.has_failed = False

    def do(self, portion: Sequence[Copy]) -> None:
        """Fetches videos, does them, and stores finished outputs, however it ends."""
        _keep_only(self._root / "in", portion)
        fetched = [copy for copy in portion if self._try(_fetch, copy)]
        if not fetched:
            return
        report = self._root / "report.json"
        report.unlink(missing_ok=True)
        # As a folder, so that each output comes into one of its own.
        here = replace(
            self._options,
            video=(str(self._root / "in"),),
            output=str(self._root / "out"),
            recursive=True,
            report=str(report),
        )
        try:
            status = self._run(here)
            self.has_failed = self.has_failed or status != 0
        finally:
            self._take(report, fetched)
            for copy in fetched:
                self._try(self._store, copy)
        _keep_only(self._root / "in", [])

    def _store(self, copy: Copy, options: Options) -> None:
        self._lock.require()
        _store(copy, options)

    def _try(self, action: Callable[[Copy, Options], None], copy: Copy) -> bool:
        """Whether an action went well; a failure stops no other video."""
        try:
            action(copy, self._options)
        except Exception as error:
            if self._options.debug:
                raise
            say(f"{copy.url}: {one_line(error)}")
            record = {"input": copy.url, "error": str(error)}
            self.reports.append(record)
            self.has_failed = True
            return False
        return True

    def _take(self, report: Path, copies: Sequence[Copy]) -> None:
        """Takes the reports of a portion, with the names that the user knows."""
        try:
            content = json.loads(report.read_text("utf-8"))
        except OSError:
            return
        # One input makes one report, several make a list of them.
        entries = content if isinstance(content, list) else [content]
        by_path = {str(copy.video): copy for copy in copies}
        place = str(self._options.output).rstrip("/")
        for entry in entries:
            copy = by_path[entry["input"]]
            record = {**entry, "input": copy.url}
            if "output" in entry:
                folder = os.path.dirname(copy.below)
                file = os.path.basename(entry["output"])
                output = os.path.join(folder, file)
                record["output"] = f"{place}/{output}"
            self.reports.append(record)


def _digest(*words: str) -> str:
    text = " ".join(words)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return digest[:24]


def _root_of(options: Options) -> Path:
    name = _digest(*options.video, str(options.output))
    return cache_folder() / "sdvsr_jax" / "remote" / name


def _keep_only(folder: Path, copies: Iterable[Copy]) -> None:
    """Makes a folder of copies, or of outputs, and removes those of other videos."""
    folder.mkdir(exist_ok=True)
    names = {copy.name for copy in copies}
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path)


def _next_portion(copies: Sequence[Copy], root: Path) -> list[Copy]:
    """As many videos as the disk takes at a time, the biggest first."""
    room = SHARE * shutil.disk_usage(root).free
    portion: list[Copy] = []
    for copy in sorted(copies, key=lambda copy: -copy.size):
        # One at least: whether it fits is seen when it is fetched.
        if not portion or copy.size <= room:
            portion.append(copy)
            room -= copy.size
    return portion


def _find(options: Options) -> Iterator[Copy]:
    for url in options.video:
        system, root = _open(url)
        is_file = system.isfile(root)
        depth = None if options.recursive else 1
        paths = [root] if is_file else system.find(root, maxdepth=depth)
        videos = [path for path in paths if path.lower().endswith(VIDEO_SUFFIXES)]
        if not videos:
            raise ValueError(f"{url}: no video there")
        for path in sorted(videos):
            below = os.path.basename(path)
            if not is_file:
                below = path[len(root) :].lstrip("/")
            name = system.unstrip_protocol(path)
            size = int(system.info(path).get("size") or 0)
            identity = _identity(system, path)
            yield Copy(name, below, identity, size, _root_of(options))


def _open(url: str) -> tuple[Any, str]:
    """The file system of a name, and the path in it."""
    try:
        fsspec = importlib.import_module("fsspec")
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        scheme = url.partition("://")[0]
        raise ValueError(
            f"{url}: {scheme}:// needs a package that is not installed here ({error})"
        ) from None
    # Of earlier looks, whose files may have changed.
    system.invalidate_cache()
    return system, path


def _identity(system: Any, path: str) -> str:
    """A text that changes with the file, the same from a list and from a look."""
    info = system.info(path)
    size = info.get("size")
    # Digests before times, which may change without the content.
    for name in (*DIGESTS, *TIMES):
        if info.get(name):
            return f"{size} {info[name]}"
    return f"{size} "


def _fetch(copy: Copy, options: Options) -> None:
    """Reads a video to this machine, unless it is here."""
    if copy.video.exists():
        return
    system, path = _open(copy.url)
    say(f"fetch    {copy.url}")
    copy.video.parent.mkdir(mode=0o700, exist_ok=True)
    with atomic_write(copy.video) as part:
        system.get_file(path, str(part))
        # A later copy of it is the same video.
        os.utime(part, (0, 0))
    system.invalidate_cache()
    if _identity(system, path) != copy.identity:
        copy.video.unlink()
        raise JobError(f"{copy.url}: was changed while it was read: try again")


def _store(copy: Copy, options: Options) -> None:
    """Writes finished outputs back, and removes their local copies."""
    # A dot begins the names of work folders, and of marks beside them.
    paths = copy.results.glob("*")
    finished = [path for path in paths if not path.name.startswith(".")]
    if not finished:
        return
    system, root = _open(str(options.output))
    place = root.rstrip("/")
    folder = os.path.dirname(copy.below)
    stored: dict[str, str] = {}
    for path in _files(finished):
        below = os.path.join(folder, path.relative_to(copy.results))
        target = f"{place}/{below}"
        _put(system, path, target, options)
        stored[target] = _identity(system, target)
        say(f"stored   {system.unstrip_protocol(target)}")
    with atomic_write(copy.record) as part:
        part.write_text(json.dumps(stored), "utf-8")
    shutil.rmtree(copy.results)


def _put(system: Any, path: Path, target: str, options: Options) -> None:
    if system.exists(target) and not options.overwrite:
        raise JobError(
            f"{system.unstrip_protocol(target)}: already exists; give --overwrite to "
            "replace it or another --output"
        )
    system.makedirs(os.path.dirname(target), exist_ok=True)
    # fsspec has one name of a file system, or several.
    protocol = system.protocol
    scheme = protocol if isinstance(protocol, str) else protocol[0]
    if scheme in WHOLE:
        system.put_file(str(path), target)
    else:
        part = f"{target}.unfinished"
        system.put_file(str(path), part)
        system.mv(part, target)
    system.invalidate_cache()


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            files = [file for file in path.rglob("*") if file.is_file()]
            yield from sorted(files)
        else:
            yield path


def _is_stored(copy: Copy, options: Options) -> bool:
    """Whether the outputs of this very video are there, and unchanged."""
    try:
        stored = json.loads(copy.record.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    system, _ = _open(str(options.output))
    try:
        for path, identity in stored.items():
            if _identity(system, path) != identity:
                return False
    except OSError:
        return False
    return True
