"""The videos of the page: uploads in chunks, and files in allowed folders."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import av
from pydantic import ValidationError

from infer.errors import JobError
from infer.ui.clips import describe_file
from infer.ui.disk import (
    free_space,
    harmless_suffix,
    size_of_folder,
    write_record,
)
from infer.ui.queue import new_id
from infer.ui.refusal import Refusal, not_there
from infer.ui.schemas import Input, InputRecord, NewInput
from infer.ui.settings import GIB, Settings
from sdvsr_jax.video_names import VIDEO_SUFFIXES

RECORD = "input.json"
CHUNK = 8 * 2**20
"""Bytes of one part of an upload: a lost connection costs no more than this."""
DEMO = Path(__file__).parents[2] / "examples" / "nasa_320x180.mp4"
"""Comes with a checkout of the repository; a wheel has no examples."""
LISTED = 500
"""Files of --root that are offered; more would be searched for too long."""


class Inputs:
    """All inputs; each has a folder with its record and, if uploaded, its file."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._roots = settings.roots()
        self._inputs: dict[str, Input] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"*/{RECORD}"):
            self._take_up(path)

    def all(self) -> list[Input]:
        """Oldest first."""
        inputs = self._inputs.values()
        return sorted(inputs, key=lambda entry: entry.created)

    def get(self, name: str) -> Input:
        """Returns an input; a Refusal if there is none of that id."""
        if name not in self._inputs:
            raise not_there("input", name)
        return self._inputs[name]

    def ready(self, name: str) -> Input:
        """Returns an input that can be worked on; a Refusal otherwise."""
        entry = self.get(name)
        if entry.state == "bad":
            raise Refusal(409, entry.error)
        if entry.state == "uploading":
            raise Refusal(409, f"{entry.name} has not arrived completely yet.")
        return entry

    def create(self, wish: NewInput) -> Input:
        """Begin an upload, or take a file that is on the server."""
        ways = [wish.name or wish.size, wish.path, wish.demo]
        wishes = [way for way in ways if way is not None and way is not False]
        if len(wishes) != 1:
            raise Refusal(400, "Expected one of: name and size, path, demo.")
        if len(self._inputs) >= self._settings.max_inputs:
            most = self._settings.max_inputs
            raise Refusal(409, f"There are {most} inputs already: delete some first.")
        if wish.demo:
            if not DEMO.exists():
                raise Refusal(404, "This installation comes without the demo clip.")
            return self._take(DEMO)
        if wish.path is not None:
            return self._take(self._allowed(wish.path))
        return self._begin(wish)

    def append(self, name: str, offset: int, data: bytes) -> Input:
        """Add a part of an upload at its place; the last one looks into the file."""
        entry = self.get(name)
        if entry.state != "uploading" or offset != entry.received:
            sentence = f"Expected the bytes from {entry.received} on, not {offset}."
            raise Refusal(409, sentence)
        if offset + len(data) > entry.size:
            raise Refusal(413, f"More bytes came than the {entry.size} announced.")
        self._check_space(len(data))
        try:
            with open(entry.path, "ab") as file:
                # what an earlier, broken-off write left behind the last record
                file.truncate(offset)
                file.write(data)
        except OSError as error:
            sentence = f"The upload could not be stored: {error.strerror}."
            raise Refusal(507, sentence) from None
        entry.received += len(data)
        if entry.received == entry.size:
            self._look(entry)
            self._save(entry)
        return entry

    def delete(self, name: str) -> None:
        """Forget an input; an uploaded file is removed, one in a root is left alone."""
        self.get(name)
        del self._inputs[name]
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def root_files(self) -> Iterator[Path]:
        """Yields the videos in the folders of --root, symbolic links apart."""
        count = 0
        for root in self._roots:
            for place, folders, names in os.walk(root):
                # In place: `os.walk` goes on in this order.
                folders.sort()
                for name in sorted(names):
                    path = Path(place, name)
                    is_video = path.suffix.lower() in VIDEO_SUFFIXES
                    if count == LISTED:
                        return
                    if is_video and not path.is_symlink():
                        count += 1
                        yield path

    def _allowed(self, path: str) -> Path:
        """Returns the real path of a file below a root. A path outside and a path that
        does not exist are refused alike, so that nothing is learnt about the disk.
        """
        refusal = Refusal(403, "This is no video in a folder that --root allows.")
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise refusal from None
        inside = any(real.is_relative_to(root) for root in self._roots)
        if not inside or not real.is_file():
            raise refusal
        return real

    def _take(self, path: Path) -> Input:
        for entry in self._inputs.values():
            if entry.path == str(path) and entry.state == "ready":
                return entry
        size = path.stat().st_size
        entry = self._new(path.name, size, str(path))
        entry.received = size
        self._look(entry)
        return self._add(entry)

    def _begin(self, wish: NewInput) -> Input:
        if wish.name is None or wish.size is None:
            raise Refusal(400, "An upload needs a name and a size in bytes.")
        if wish.size > self._settings.max_upload * GIB:
            most = self._settings.max_upload
            raise Refusal(413, f"The file is larger than the {most:g} GiB allowed.")
        self._check_space(wish.size)
        entry = self._new(wish.name, wish.size, "")
        # The name is shown and never used, but for a suffix.
        file = f"video{harmless_suffix(wish.name)}"
        entry.path = str(self._folder / entry.id / file)
        return self._add(entry)

    def _new(self, name: str, size: int, path: str) -> Input:
        return Input(
            id=new_id(),
            name=name,
            size=size,
            received=0,
            state="uploading",
            path=path,
            created=time.time(),
        )

    def _add(self, entry: Input) -> Input:
        (self._folder / entry.id).mkdir()
        self._inputs[entry.id] = entry
        self._save(entry)
        return entry

    def _look(self, entry: Input) -> None:
        try:
            entry.clip = describe_file(entry.path)
            entry.state = "ready"
        except (JobError, ValueError, OSError, av.FFmpegError) as error:
            entry.error = str(error).replace(entry.path, entry.name)
            entry.state = "bad"

    def _check_space(self, size: int) -> None:
        """Raises a Refusal if so many bytes more would be too many."""
        spare = self._settings.spare_space * GIB
        if free_space(self._folder) - size < spare:
            raise Refusal(
                507, "The server's disk is full: delete jobs or inputs first."
            )
        used = size_of_folder(self._folder.parent)
        if used + size > self._settings.max_space * GIB:
            most = self._settings.max_space
            sentence = f"The {most:g} GiB of this server are used up: delete some jobs."
            raise Refusal(507, sentence)

    def _save(self, entry: Input) -> None:
        record = InputRecord(entry=entry, source=entry.path)
        path = self._folder / entry.id / RECORD
        try:
            write_record(path, record.model_dump_json())
        except OSError as error:
            sentence = f"The input could not be stored: {error.strerror}."
            raise Refusal(507, sentence) from None

    def _take_up(self, path: Path) -> None:
        """Read a record of an earlier server; an upload goes on from its last byte."""
        try:
            record = InputRecord.model_validate_json(path.read_text("utf-8"))
        except (OSError, ValidationError):
            return
        entry = record.entry
        entry.path = record.source
        if entry.state == "uploading":
            file = Path(entry.path)
            entry.received = file.stat().st_size if file.exists() else 0
        self._inputs[entry.id] = entry
