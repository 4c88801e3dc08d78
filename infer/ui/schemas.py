"""Requests and answers of the interface, as types: the OpenAPI document is written from
them, requests are checked by them, and the journals on disk hold them.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")

MOST = 2**53 - 1
"""The largest integer that a page can hold exactly."""


class Problem(BaseModel):
    """The answer to every request that fails: one sentence."""

    error: str


class Clip(BaseModel):
    """Facts about a video. rotation: clockwise degrees by which players turn it;
    aspect: width of a pixel by its height; hdr: shown through a tone mapping.
    """

    width: int
    height: int
    frames: int | None
    rate: float
    codec: str
    bits: int
    rotation: int = 0
    mirrored: bool = False
    aspect: float = 1.0
    hdr: str = ""


class Input(BaseModel):
    """A video to work on: uploaded, or on the server's disk."""

    id: str
    name: str
    size: int
    received: int
    state: Literal["uploading", "ready", "bad"]
    error: str = ""
    path: str = Field("", exclude=True)
    created: float = 0.0
    clip: Clip | None = None


class InputRecord(BaseModel):
    """The record of an input, with the path that the page does not see."""

    entry: Input
    source: str


class NewInput(BaseModel):
    """Exactly one of: an upload to come (name and size), a path on the server, or the
    clip that comes with the program.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = Field(None, min_length=1, max_length=1000)
    size: int | None = Field(None, ge=1, le=MOST)
    path: str | None = Field(None, min_length=1, max_length=4000)
    demo: bool = False


class Progress(BaseModel):
    """How far a job is. fps and eta (seconds) are of this run."""

    frames: int = 0
    total: int | None = None
    fps: float = 0.0
    eta: float | None = None
    first_frame: float | None = None
    line: str = ""
    """The last line that the command said."""


class Job(BaseModel):
    """One run of the command. kind: a preview leaves lossless frames instead of a file;
    words: its command line, input and output apart.
    """

    id: str
    kind: Literal["file", "preview"]
    input: str
    name: str
    output_name: str
    options: dict[str, Any]
    words: list[str]
    state: State = "queued"
    error: str = ""
    order: float = 0.0
    created: float = 0.0
    ended: float | None = None
    size: int = 0
    """Bytes of the finished output."""
    progress: Progress = Progress()
    report: dict[str, Any] | None = None
    clip: Clip | None = None
    """Facts about the finished output."""


class JobRecord(BaseModel):
    """The journal of a job, with the fields that the page does not see."""

    job: Job
    source: str
    output: str
    process: int | None = None


class JobChange(BaseModel):
    """pause keeps the finished frames, resume goes on after them; cancel throws them
    away; before: the id of the job in front of which this one moves, '' for the end.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Literal["pause", "resume", "cancel", "move"]
    before: str = Field("", max_length=64)


class Estimate(BaseModel):
    """The cost of a job, as far as it can be told before. basis of time and memory:
    an earlier run with the same or another size, or predicted as by `sdvsr plan`, which
    can be wrong by a factor of two or three. bytes_basis: which frames were encoded to
    learn the size of the file; the enlarged source gives a smaller one than sharp
    frames. null: not known yet; is_pending: it is being worked out, ask again.
    """

    width: int
    height: int
    frames: int | None
    output_name: str
    seconds: float | None = None
    memory: int | None = None
    bytes: int | None = None
    basis: Literal["", "same size", "another size", "predicted"] = ""
    bytes_basis: Literal["", "preview", "enlarged source"] = ""
    notes: list[str] = []
    is_pending: bool = False


class Health(BaseModel):
    """The state of the server in a word, and its free disk space in bytes."""

    status: Literal["ok", "full"]
    free: int
    running: int
    queued: int


class About(BaseModel):
    """Facts for the page to draw itself from."""

    version: str
    demo: bool
    roots: list[str]
    models: list[str]
    form: dict[str, Any]
    containers: list[str]
    max_upload: int
    chunk: int


class RootFile(BaseModel):
    """A video in one of the folders of --root."""

    path: str
    size: int


class Film(BaseModel):
    """A copy for motion of a video that a browser cannot play: H.264 (CRF 12), upright,
    HDR tone mapped, 2560 pixels wide or high at most. share: of its frames that are
    done; null if nobody knows.
    """

    state: Literal["working", "ready", "failed"]
    share: float | None


class Quality(BaseModel):
    """Closeness of one frame to a reference, of the result and of the bicubic source:
    PSNR of all colours in dB (null where they are equal) and SSIM of the luma (1 where
    they are equal, null for tiny pictures). Higher is closer.
    """

    frame: int
    psnr: float | None
    bicubic_psnr: float | None
    ssim: float | None
    bicubic_ssim: float | None
