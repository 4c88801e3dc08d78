"""`python -m infer doctor`: the machine's parts, and a test of the shipped model."""

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import av
import jax
import tyro
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from infer.code_points import BT601
from infer.console import in_words
from infer.model import compiled_cache, memory, selftest
from infer.model.engine import Device, find_device
from infer.sinks.encoder_setup import try_encoder
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.encoders import ENCODERS, Encoder, choose_pixel_format
from infer.sources.info import ColorTags, PixelLayout
from sdvsr_jax.weights import load as checkpoint
from sdvsr_jax.weights.checksum import sha256

# The encoders that are taken by default.
NEEDED = ("libx264", "libx265")
DECODERS = (
    *("h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "h263"),
    *("mjpeg", "prores", "ffv1", "png"),
)
# Characters of a self-test's error.
LONGEST = 300


@dataclass(frozen=True)
class Options:
    """Show devices, memory, codecs, the compile cache and the weights, and run a
    self-test of two seconds.

    Exit status 0: all is well; 1: a line says FAULT.
    """

    device: Annotated[str, tyro.conf.arg(aliases=("-d",))] = "auto"
    """Where the self-test runs: auto, cpu, gpu or gpu:1."""
    json: bool = False
    """Print one JSON object instead of lines."""
    record: bool = False
    """Store this machine's self-test numbers as the expected ones, after the weights
    were replaced.
    """
    debug: bool = False
    """Show tracebacks."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; a fault makes the exit status 1."""

    name: str
    text: str
    fault: bool = False

    def __str__(self) -> str:
        verdict = "FAULT" if self.fault else "ok"
        return f"{verdict:6}{self.name:12}{self.text}"


def main(arguments: list[str]) -> int:
    """The command; returns the exit status."""
    options = tyro.cli(Options, args=arguments, prog="python -m infer doctor")
    compiled_cache.use()
    device = find_device(options.device)
    if options.record:
        selftest.record(options.device)
    parts: list[Callable[[], Iterator[Finding]]] = [
        _versions,
        _devices,
        lambda: _memory(device),
        _encoders,
        _decoders,
        _cache,
        _weights,
        lambda: _self_test(options.device),
    ]
    findings = []
    for part in parts:
        for finding in part():
            findings.append(finding)
            if not options.json:
                # At once: the self-test takes seconds.
                print(finding, flush=True)
    faults = [finding for finding in findings if finding.fault]
    if options.json:
        records = [asdict(finding) for finding in findings]
        report = {"ok": not faults, "findings": records}
        print(json.dumps(report, indent=1))
    else:
        num_checks = len(findings)
        num_fine = num_checks - len(faults)
        print(f"{num_fine} of {num_checks} checks are fine")
    return 1 if faults else 0


def _versions() -> Iterator[Finding]:
    parts = [f"Python {platform.python_version()}"]
    parts.append(f"{platform.system()} {platform.machine()}")
    for name in ("jax", "jaxlib", "flax", "av"):
        parts.append(f"{name} {version(name)}")
    parts.append(f"FFmpeg {av.ffmpeg_version_info}")
    yield Finding("versions", ", ".join(parts))


def _devices() -> Iterator[Finding]:
    for device in jax.devices():
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        size = f", {in_words(limit)}" if limit else ""
        name = f"{device.platform}:{device.id} {device.device_kind}"
        yield Finding("device", f"{name}{size}")


def _memory(device: Device) -> Iterator[Finding]:
    free = memory.available(device)
    text = "unknown"
    if free is not None:
        text = f"{in_words(free)} available on {device.platform}"
    yield Finding("memory", text)


def _encoders() -> Iterator[Finding]:
    able = []
    for encoder in ENCODERS.values():
        try:
            try_encoder(_small_spec(encoder))
            able.append(encoder.name)
        except (ValueError, UnknownCodecError) as error:
            if encoder.name in NEEDED:
                yield Finding("encoder", str(error), fault=True)
    text = ", ".join(able)
    others = [name for name in ENCODERS if name not in able]
    if others:
        text += f" (not on this machine: {', '.join(others)})"
    yield Finding("encoders", text)


def _small_spec(encoder: Encoder) -> VideoSpec:
    """An ordinary picture of a size that every encoder takes."""
    side = 256
    layout = PixelLayout("yuv420p", 8, "420", False)
    return VideoSpec(
        encoder=encoder.name,
        pixel_format=choose_pixel_format(encoder, layout, (side, side)),
        width=side,
        height=side,
        time_base=Fraction(1, 25),
        rate=Fraction(25),
        color=ColorTags(),
        matrix=BT601,
    )


def _decoders() -> Iterator[Finding]:
    able: list[str] = []
    absent: list[str] = []
    for name in DECODERS:
        try:
            Codec(name, "r")
            able.append(name)
        except UnknownCodecError:
            absent.append(name)
    text = ", ".join(able)
    if absent:
        text += f"; missing: {', '.join(absent)}"
    yield Finding("decoders", text, bool(absent))


def _cache() -> Iterator[Finding]:
    path = compiled_cache.folder()
    if fault := compiled_cache.fault(path):
        text = f"{path}: {fault}; every start compiles anew"
        yield Finding("cache", text, fault=True)
        return
    files = [file for file in path.rglob("*") if file.is_file()]
    sizes = [file.stat().st_size for file in files]
    size = in_words(sum(sizes))
    mode = f"{path.stat().st_mode & 0o777:03o}"
    text = f"{path}, mode {mode}, {len(files)} files, {size}"
    yield Finding("cache", text)


def _weights() -> Iterator[Finding]:
    for name, expected in checkpoint.shipped().items():
        path = Path(str(checkpoint.SHIPPED / f"{name}.safetensors"))
        if not path.is_file():
            text = f"{path}: not there; reinstall the package"
            yield Finding("weights", text, fault=True)
            continue
        digest = sha256(path)
        if digest != expected:
            actual = f"{digest[:12]}..."
            wish = f"{expected[:12]}..."
            text = f"{path}: checksum {actual}, expected {wish}: reinstall the package"
            yield Finding("weights", text, fault=True)
            continue
        size = in_words(path.stat().st_size)
        text = f"{name}, {size}, sha256 {digest[:12]}..."
        yield Finding("weights", text)


def _self_test(device: str) -> Iterator[Finding]:
    start = time.perf_counter()
    try:
        numbers = selftest.measure(device)
        fault = selftest.fault(numbers)
    except (ValueError, RuntimeError, OSError) as error:
        words = " ".join(str(error).split())
        fault = words[:LONGEST]
    seconds = time.perf_counter() - start
    frames = f"{selftest.FRAMES} frames of {selftest.MODEL}"
    success = f"{frames} in {seconds:.1f} s, as expected"
    yield Finding("self-test", fault or success, bool(fault))
