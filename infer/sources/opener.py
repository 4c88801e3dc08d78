"""Opening inputs. FFmpeg gets every file from here, so no list opens one that lies
outside its folder.

A list is any file that names other files: HLS, DASH, a sequence of images, ... FFmpeg
finds the names by rules of its own, and a second parser would always differ from it.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from typing import Any

import av
from av.container import InputContainer
from av.container.core import Flags

from infer.errors import JobError
from infer.sources.info import DEFAULT_LIMITS, Limits
from infer.sources.network import is_network

# FFmpeg opens nothing by itself: some formats do not ask the opener for the files
# within.
NO_PROTOCOL = "none"
# Bytes of one read: every read waits for Python's lock.
BUFFER = 2**18
# Bytes of a packet of MPEG-TS, and the first of them.
TS_PACKET, TS_START = 188, 0x47
MIN_PACKETS = 3
# Bytes that are looked at to choose a way of opening.
HEAD = 4 * TS_PACKET
# Seconds in which a list must open and each read of it must end: FFmpeg waits for the
# next segment of a list that has no end, as long as the list says.
LIST_PATIENCE = 20.0
CONCAT_HEAD = b"ffconcat version 1.0"
HLS_HEADS = (b"#EXTM3U", b"\xef\xbb\xbf#EXTM3U")
# First bytes of lists that may go on while they are read: HLS and DASH.
LIST_HEADS = (*HLS_HEADS, b"<", b"\xef\xbb\xbf<")
# Formats of the files that a concat list may name: none of them names files itself, but
# for concat, to which the same rules apply.
CONCAT_FORMATS = (
    "concat,mov,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,ogg,asf,mxf,h264,hevc,av1,"
    "obu,ivf,m4v,mp3,aac,wav,flac"
)
# Formats that count pictures in the order of decoding, which is no time.
WITHOUT_TIMES = ("avi",)
# Entries of a folder that are looked at for links; more would take seconds.
MAX_CONCAT_FOLDER = 10_000


class OutsideFolder(ValueError):
    """A list names something outside its folder, or something that is not opened here.

    Without a name it is not known which of both.
    """

    def __init__(self, path: str, name: str = "") -> None:
        if not name:
            name = "a list, a protocol, a damaged file or a file"
        super().__init__(
            f"{path}: this list reads {name}, outside its folder; "
            "--trust-playlist allows it"
        )


class Opener:
    """The files of one input, as FFmpeg asks for them.

    ``url`` is the name to open it by: absolute, or FFmpeg takes a name such as
    12:30.mp4 or concat:a|b for an address; and printable, because PyAV hands other
    names to nobody.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._main = os.path.abspath(path)
        self._folder = os.path.realpath(os.path.dirname(self._main))
        self.url = os.fsencode(self._main).decode("utf-8", "replace")
        self.refusal: Exception | None = None
        """The first one; FFmpeg does not always hand it on."""

    def __call__(self, url: str, flags: int, options: dict[str, str]) -> "OwnFile":
        """Opens a file for FFmpeg; OutsideFolder if it may not be read."""
        if url == self.url:
            return OwnFile(self._main)
        if self.refusal is not None:
            # The first error is on its way through FFmpeg; PyAV would print a second
            # one as lost.
            return OwnFile(os.devnull)
        try:
            return OwnFile(self._allowed(url))
        except Exception as error:
            self.refusal = error
            raise

    def _allowed(self, url: str) -> str:
        name = url.removeprefix("file:")
        if re.match(r"[A-Za-z][A-Za-z0-9+.,-]*:", name):
            raise OutsideFolder(self._path, url)
        target = os.path.realpath(name)
        if not is_inside(target, self._folder):
            raise OutsideFolder(self._path, url)
        if not os.path.exists(target):
            raise JobError(f"{self._path}: this list reads {name}, which is not there")
        if not os.path.isfile(target):
            raise JobError(f"{self._path}: this list reads {name}, which is no file")
        return target


class OwnFile:
    """A file that closes with its last user: PyAV closes none that it was handed."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._file = open(path, "rb")  # noqa: SIM115 (it outlives this function)

    def read(self, size: int) -> bytes:
        """Returns at most ``size`` bytes."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves; returns the new position, or FFmpeg's number of an error.

        Damaged files ask for places that no file has; PyAV would print an exception.
        """
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL

    def tell(self) -> int:
        """Returns the position."""
        return self._file.tell()

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()

    def __del__(self) -> None:
        # There is none if opening it failed.
        if hasattr(self, "_file"):
            self._file.close()


def is_inside(path: str, folder: str) -> bool:
    """Returns whether a real path lies in a real folder or below it."""
    return os.path.commonpath([path, folder]) == folder


def open_input(path: str, limits: Limits = DEFAULT_LIMITS) -> InputContainer:
    """Opens a file for reading.

    ValueError if there is no such file, a list reads outside its folder, or pictures
    have too many pixels; JobError if it is no video.
    """
    check_file(path)
    try:
        container = _open(path, limits)
    except (OutsideFolder, JobError):
        raise
    except PermissionError:
        raise JobError(f"{path}: not readable (permission denied)") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise JobError(
            f"{path}: not a video that FFmpeg can read ({reason(error)})"
        ) from None
    try:
        limit_pixels(container, path, limits)
        if container.format.name in WITHOUT_TIMES:
            # PyAV asks FFmpeg to make up times, which it does wrongly for B-frames.
            container.flags &= ~Flags.gen_pts.value
    except BaseException:
        container.close()
        raise
    return container


def check_file(path: str) -> None:
    """ValueError or JobError if this is not a file with something in it."""
    if is_network(path):
        raise ValueError(
            f"{path}: an address, expected a file; fetch it first, or give a live "
            "output, such as out.ts"
        )
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        raise ValueError(f"{path}: no such file or folder") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(
            f"{path}: not a regular file; a pipe is read as standard input, "
            "as in: cat FIFO | python -m infer --video -"
        )
    if status.st_size == 0:
        raise JobError(f"{path}: the file is empty")


def _open(path: str, limits: Limits) -> InputContainer:
    # Names with %d are files and not sequences. FFmpeg decodes pictures while it looks
    # at a file, so the limit must be known from the start.
    options = {"pattern_type": "none", "max_pixels": str(limits.max_pixels)}
    if limits.trusted:
        return _open_trusted(path, options)
    try:
        return _open_guarded(path, options)
    except av.FFmpegError:
        head = _head(path)
        if head.startswith(HLS_HEADS):
            # FFmpeg refuses lists within lists by itself.
            raise OutsideFolder(path) from None
        if _is_transport_stream(head):
            return _open_guarded(path, options, "mpegts")
        if not head.startswith(CONCAT_HEAD):
            raise
    return _open_concat(path, options)


def _open_guarded(
    path: str, options: dict[str, str], name: str | None = None
) -> InputContainer:
    """Opens a file whose every access goes through an `Opener`.

    name: of the format, where FFmpeg does not find it.
    """
    opener = Opener(path)
    is_list = _head(path).lstrip().startswith(LIST_HEADS)
    try:
        return av.open(
            opener.url,
            format=name,
            options=options | {"protocol_whitelist": NO_PROTOCOL},
            # Old files have words in other encodings than UTF-8, which end no job.
            metadata_errors="replace",
            buffer_size=BUFFER,
            timeout=LIST_PATIENCE if is_list else None,
            io_open=opener,
        )
    except av.FFmpegError:
        if opener.refusal is not None:
            raise opener.refusal from None
        raise


def _open_trusted(path: str, options: dict[str, str]) -> InputContainer:
    main = os.path.abspath(path)
    if _head(path).startswith(CONCAT_HEAD):
        anything = options | {"safe": "0"}
        return av.open(
            main, format="concat", options=anything, metadata_errors="replace"
        )
    return av.open(main, options=options, metadata_errors="replace")


def _head(path: str) -> bytes:
    """The first bytes of a file. They never allow anything: they choose between two
    ways of opening that are both kept in the folder, and the words of an error.
    """
    with open(path, "rb") as file:
        return file.read(HEAD)


def _is_transport_stream(head: bytes) -> bool:
    """Whether packets of MPEG-TS begin a file: FFmpeg takes short ones, of a few
    pictures, for another format.
    """
    starts = head[::TS_PACKET]
    return len(starts) >= MIN_PACKETS and set(starts) == {TS_START}


def _open_concat(path: str, options: dict[str, str]) -> InputContainer:
    """Opens a concat list, whose files FFmpeg opens without asking.

    FFmpeg's own rule keeps names within the folder (``safe``), but follows links.
    """
    main = os.path.abspath(path)
    folder = os.path.dirname(main)
    link = find_link_out(folder)
    if link:
        raise OutsideFolder(path, link)
    node = find_no_file(folder)
    if node:
        raise JobError(f"{path}: {node} beside this list is no file; remove it")
    limits = {
        "safe": "1",
        "protocol_whitelist": "file",
        "format_whitelist": CONCAT_FORMATS,
    }
    try:
        return av.open(
            main, format="concat", options=options | limits, metadata_errors="replace"
        )
    except av.FileNotFoundError:
        raise JobError(f"{path}: this list reads a file that is not there") from None
    except av.FFmpegError:
        raise OutsideFolder(path) from None


def find_link_out(folder: str) -> str:
    """Returns the first symbolic link below a folder that leads out of it, or ''."""
    root = os.path.realpath(folder)
    for number, place in enumerate(_places(root)):
        if number >= MAX_CONCAT_FOLDER:
            return f"a folder with more than {MAX_CONCAT_FOLDER} entries"
        is_link = os.path.islink(place)
        if is_link and not is_inside(os.path.realpath(place), root):
            return place
    return ""


def find_no_file(folder: str) -> str:
    """Returns the first pipe, socket or device below a folder, or ''.

    FFmpeg would wait for ever for the writer of a pipe.
    """
    for place in _places(folder):
        is_usual = os.path.isfile(place) or os.path.isdir(place)
        if os.path.exists(place) and not is_usual:
            return place
    return ""


def _places(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield os.path.join(parent, name)


def limit_pixels(container: InputContainer, path: str, limits: Limits) -> None:
    """Makes decoders refuse bigger pictures; ValueError if a header announces one."""
    for stream in container.streams.video:
        context = stream.codec_context
        if context is None:
            continue
        check_pixels(path, context.width, context.height, limits)
        limit = {"max_pixels": str(limits.max_pixels)}
        context.options = context.options | limit


def check_pixels(path: str, width: int, height: int, limits: Limits) -> None:
    """ValueError if a picture is beyond the limit."""
    limit = limits.max_pixels
    if width * height > limit:
        raise ValueError(
            f"{path}: pictures of {width}x{height}, expected at most {limit} pixels; "
            "--max-pixels raises the limit"
        )


def reason(error: BaseException) -> str:
    """Returns the words of an FFmpeg error without its number and file name."""
    if isinstance(error, av.ExitError):
        return "nothing came in time"
    words: Any = getattr(error, "strerror", None)
    return words or str(error) or type(error).__name__
