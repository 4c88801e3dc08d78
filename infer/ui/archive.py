"""A folder of frames as one file to download."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def zip_of(folder: Path) -> Iterator[bytes]:
    """Yields a ZIP archive of a folder's files, made while it is sent: it takes no room
    on the disk. PNG is compressed already, so nothing is compressed again.
    """
    sent = _Sent()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{folder.name}/{path.name}")
            yield sent.take()
    yield sent.take()


class _Sent:
    """A file that is only written to, from the beginning to the end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is left here: `take` gives the bytes."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        """Returns the bytes since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
