"""A real file job through the real command: decoding, transfers, encoding, joining and checks included."""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


def with_media(width: int, height: int, precision: str, num_frames: int) -> dict[str, Any]:
    """Frames per second of the shipped model on a file, after its first frame. Needs PyAV."""
    from infer.options import parse
    from infer.upscale import run_one

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.mp4"
        make_clip(source, width, height, num_frames)
        words = ["--video", str(source), "--precision", precision, "--preset", "ultrafast", "--overwrite"]
        run_one(parse(words), str(source), None)  # compiles
        report = run_one(parse(words), str(source), None)
    steady = report["seconds"] - report["first_frame_seconds"]
    return {"media_frames_per_s": (report["frames"] - 1) / steady, "media_frames": report["frames"]}


def make_clip(path: Path, width: int, height: int, num_frames: int) -> None:
    """H.264 of a drifting texture."""
    import av

    rng = np.random.default_rng(0)
    canvas = np.kron(rng.integers(0, 255, (height // 4 + 1, width // 4 + 32, 3)), np.ones((4, 4, 1)))
    with av.open(str(path), "w") as file:
        # 4:2:0 needs even sides; odd ones are kept as 4:4:4
        chroma = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream = file.add_stream("libx264", Fraction(25), width=width, height=height, pix_fmt=chroma)
        for i in range(num_frames):
            pixels = canvas[:height, i : i + width].astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        file.mux(stream.encode())
