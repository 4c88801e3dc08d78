"""`python -m infer doctor`: what this machine has, and whether the shipped model
computes what it should.
"""

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

from infer.console import in_words
from infer.model import compiled_cache, memory, selftest
from infer.model.engine import Device, find_device
from infer.sinks.encoders import ENCODERS, VideoSpec, choose_pixel_format, try_encoder
from infer.sources.info import ColorTags, PixelLayout
from sdvsr_jax.weights import load as checkpoint
from sdvsr_jax.weights.checksum import sha256

NEEDED = ("libx264", "libx265")
"""The encoders that are taken by default."""
DECODERS = (
    "h264",
    "hevc",
    "av1",
    "vp9",
    "vp8",
    "mpeg4",
    "mpeg2video",
    "h263",
    "mjpeg",
    "prores",
    "ffv1",
    "png",
)


@dataclass(frozen=True)
class Options:
    """Show devices, memory, codecs, the compile cache and the weights, and run a
    self-test of two seconds.

    Exit status 0: all is well; 1: something is wrong, one line says what.
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
    found = []
    for part in parts:
        for finding in part():
            found.append(finding)
            if not options.json:
                print(
                    f"{'FAULT' if finding.fault else 'ok':6}{finding.name:12}{finding.text}",
                    flush=True,
                )
    faults = sum(f.fault for f in found)
    if options.json:
        print(
            json.dumps(
                {"ok": not faults, "findings": [asdict(f) for f in found]}, indent=1
            )
        )
    else:
        print(f"{len(found) - faults} of {len(found)} checks are fine")
    return 1 if faults else 0


def _versions() -> Iterator[Finding]:
    names = ", ".join(
        f"{name} {version(name)}" for name in ("jax", "jaxlib", "flax", "av")
    )
    python = (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    yield Finding("versions", f"{python}, {names}, FFmpeg {av.ffmpeg_version_info}")


def _devices() -> Iterator[Finding]:
    for device in jax.devices():
        limit = (device.memory_stats() or {}).get("bytes_limit")
        size = f", {in_words(limit)}" if limit else ""
        yield Finding(
            "device", f"{device.platform}:{device.id} {device.device_kind}{size}"
        )


def _memory(device: Device) -> Iterator[Finding]:
    free = memory.available(device)
    yield Finding(
        "memory",
        "unknown"
        if free is None
        else f"{in_words(free)} available on {device.platform}",
    )


def _encoders() -> Iterator[Finding]:
    opened = []
    for encoder in ENCODERS.values():
        try:
            shape = choose_pixel_format(
                encoder, PixelLayout("yuv420p", 8, "420", False), (256, 256)
            )
            try_encoder(
                VideoSpec(
                    encoder.name,
                    shape,
                    256,
                    256,
                    Fraction(1, 25),
                    Fraction(25),
                    ColorTags(),
                    6,
                )
            )
            opened.append(encoder.name)
        except (ValueError, UnknownCodecError) as error:
            if encoder.name in NEEDED:
                yield Finding("encoder", str(error), fault=True)
    rest = ", ".join(name for name in ENCODERS if name not in opened)
    yield Finding(
        "encoders",
        ", ".join(opened) + (f" (not on this machine: {rest})" if rest else ""),
    )


def _decoders() -> Iterator[Finding]:
    missing = []
    for name in DECODERS:
        try:
            Codec(name, "r")
        except UnknownCodecError:
            missing.append(name)
    text = ", ".join(name for name in DECODERS if name not in missing)
    yield Finding(
        "decoders",
        text + (f"; missing: {', '.join(missing)}" if missing else ""),
        bool(missing),
    )


def _cache() -> Iterator[Finding]:
    path = compiled_cache.folder()
    if fault := compiled_cache.fault(path):
        yield Finding(
            "cache", f"{path}: {fault}; every start compiles anew", fault=True
        )
        return
    files = [f for f in path.rglob("*") if f.is_file()]
    size = in_words(sum(f.stat().st_size for f in files))
    yield Finding(
        "cache",
        f"{path}, mode {path.stat().st_mode & 0o777:03o}, {len(files)} files, {size}",
    )


def _weights() -> Iterator[Finding]:
    for name, expected in checkpoint.shipped().items():
        path = Path(str(checkpoint.SHIPPED / f"{name}.safetensors"))
        if not path.is_file():
            yield Finding(
                "weights", f"{path}: not there; reinstall the package", fault=True
            )
        elif (found := sha256(path)) != expected:
            text = f"{path}: checksum {found[:12]}..., expected {expected[:12]}...: reinstall the package"
            yield Finding("weights", text, fault=True)
        else:
            yield Finding(
                "weights",
                f"{name}, {in_words(path.stat().st_size)}, sha256 {found[:12]}...",
            )


def _self_test(device: str) -> Iterator[Finding]:
    started = time.perf_counter()
    try:
        fault = selftest.fault(selftest.measure(device))
    except (ValueError, RuntimeError, OSError) as error:
        fault = " ".join(str(error).split())[:300]
    seconds = f"{selftest.FRAMES} frames of {selftest.MODEL} in {time.perf_counter() - started:.1f} s"
    yield Finding("self-test", fault or f"{seconds}, as expected", bool(fault))
