"""Facts about a source that its header does not tell, from the pictures themselves.

How much detail they hold (has someone enlarged them already?), whether they are woven
from fields, and where scenes begin.
"""

import itertools
from typing import Literal, NamedTuple

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from infer.sources.detectors import add_source, detected
from infer.sources.fields import FieldCounts, Fields
from infer.sources.files import Damage, decode
from infer.sources.info import VideoInfo

Scan = Literal["progressive", "interlaced", "telecined"]

NUM_BANDS = 32
# Smaller pictures have too few frequencies for a judgement of their detail.
MIN_SIDE = 96
# Frames from one spectrum to the next; neighbours say nearly the same.
DETAIL_EVERY = 10
# Part of the width and height whose spectrum is taken: bars and logos lie outside.
MIDDLE = 0.75
# Part of the width below which a picture counts as enlarged.
BLOWN_UP = 0.7

# Levels of the spectrum relative to the falling power of natural pictures, in dB.
# Native clips, also at CRF 36, end between +2 and -8; clips enlarged 2x and 3x by
# bicubic, bilinear and Lanczos between -9 and -27, the upper ones after CRF 28.
EMPTY_END = -9.0
# Where the power has fallen by this much, an enlarged picture's own frequencies end.
EDGE = -6.0


class Inspection(NamedTuple):
    """Facts seen in the pictures of a source."""

    num_frames: int
    """Frames that were looked at, from the first on."""
    detail: tuple[float, float] | None
    """Parts (0, 1] of the width and the height that hold detail; None where the
    pictures are too small or flat to say."""
    scan: Scan
    cuts: tuple[int, ...]
    """Numbers of the frames that begin a new scene, without frame 0."""

    @property
    def is_blown_up(self) -> bool:
        """Whether the picture was enlarged before, or is as soft as if it had been."""
        if self.detail is None:
            return False
        return max(self.detail) <= BLOWN_UP


def inspect_source(info: VideoInfo, num_frames: int | None = None) -> Inspection:
    """Looks at the first `num_frames` frames, or at all of them.

    Damaged packets are passed over, as in a job.
    """
    spectra = _Spectra()
    counts = FieldCounts()
    cuts = []
    count = 0
    frames = itertools.islice(decode(info, Damage()), num_frames)
    for number, frame in enumerate(detected(frames, _detectors)):
        if number > 0 and "lavfi.scd.time" in frame.metadata:
            cuts.append(number)
        counts.add(frame.metadata)
        if number % DETAIL_EVERY == 0:
            spectra.add(frame.to_ndarray())
        count = number + 1
    scan = _scan(counts.fields())
    detail = spectra.detail()
    if detail is not None and scan != "progressive":
        # the comb of woven fields fills the vertical spectrum
        horizontal, _ = detail
        detail = (horizontal, horizontal)
    return Inspection(count, detail, scan, tuple(cuts))


def _scan(fields: Fields) -> Scan:
    if fields.is_telecined:
        return "telecined"
    return "interlaced" if fields.is_woven else "progressive"


def _detectors(frame: VideoFrame) -> Graph:
    """FFmpeg's field and scene detectors on a gray picture."""
    graph = Graph()
    source = add_source(graph, frame)
    names = ("idet", "scdet", "buffersink")
    nodes = [graph.add(name) for name in names]
    # The spectra are taken of the same frames, of one plane each.
    gray = graph.add("format", "pix_fmts=gray")
    graph.link_nodes(source, gray, *nodes)
    graph.configure()
    return graph


class _Spectra:
    """Mean power spectra of gray frames along both axes."""

    def __init__(self) -> None:
        self._sums = np.zeros((2, NUM_BANDS))
        self._count = 0

    def add(self, gray: np.ndarray) -> None:
        """`gray`: uint8 [h, w]."""
        if min(gray.shape) < MIN_SIDE:
            return
        middle = _middle(gray).astype(np.float32)
        self._sums[0] += band_powers(middle)
        self._sums[1] += band_powers(middle.T)
        self._count += 1

    def detail(self) -> tuple[float, float] | None:
        """Parts of width and height that hold detail."""
        if not self._count:
            return None
        # power of one level: below it a picture is flat up to its rounding
        slow = self._sums[:, 1:4]
        if slow.max() < self._count:
            return None
        horizontal, vertical = self._sums / self._count
        return detail_of(horizontal), detail_of(vertical)


def _middle(gray: np.ndarray) -> np.ndarray:
    height, width = gray.shape
    top = round(height * (1 - MIDDLE) / 2)
    left = round(width * (1 - MIDDLE) / 2)
    bottom = height - top
    right = width - left
    return gray[top:bottom, left:right]


def band_powers(rows: np.ndarray) -> np.ndarray:
    """Mean power of rows [n, w] in NUM_BANDS equal bands from 0 to half a cycle."""
    width = rows.shape[1]
    # Without it the edges of the picture count as a step, which has all frequencies.
    window = np.hanning(width).astype(np.float32)
    means = rows.mean(1, keepdims=True)
    spectrum = np.fft.rfft((rows - means) * window, axis=1)
    power = np.square(np.abs(spectrum)).mean(0)
    numbers = np.arange(len(power))
    band = numbers * NUM_BANDS * 2 // width
    band = np.minimum(band, NUM_BANDS - 1)
    sums = np.bincount(band, power, NUM_BANDS)
    sizes = np.bincount(band, minlength=NUM_BANDS)
    return sums / sizes / np.square(window).sum()


def detail_of(powers: np.ndarray) -> float:
    """Part (0, 1] of the samples that the spectrum needs; 1 for a native picture.

    The power of natural pictures falls with the square of the frequency. An enlarged
    picture follows that up to the half cycle of its small original and then drops.
    """
    frequency = (np.arange(NUM_BANDS) + 0.5) / (2 * NUM_BANDS)
    level = 10 * np.log10(powers * frequency**2 + 1e-9)
    # band 0 holds the slow change of brightness, bands 1 to 7 the shapes of all sources
    level = level - np.median(level[1:8])
    mean_of_three = np.ones(3) / 3
    padded = np.pad(level, 1, mode="edge")
    smooth = np.convolve(padded, mean_of_three, "valid")
    end = smooth[-NUM_BANDS // 4 :].mean()
    if end > EMPTY_END:
        return 1.0
    least = max(EDGE, end / 2)
    full = np.flatnonzero(smooth >= least)
    return float((full[-1] + 1) / NUM_BANDS)
