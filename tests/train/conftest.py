"""Small real data: a clip encoded with x264, photographs, and a model of a few thousand
parameters.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdvsr_jax.config import FlowNetConfig, ModelConfig, nano
from tests.tiny_models import tiny_nano


def moving_texture(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8[f,h,w,3]: smooth random texture that pans."""
    rng = np.random.default_rng(seed)
    # a random colour every eight pixels or so: codecs and reductions keep it
    rows = (height + frames) // 8 + 2
    columns = (width + frames) // 8 + 2
    small = rng.integers(0, 255, (rows, columns, 3), np.uint8)
    size = (width + 2 * frames, height + 2 * frames)
    big = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    array = np.asarray(big)
    return np.stack(
        [array[k : k + height, 2 * k : 2 * k + width] for k in range(frames)]
    )


def write_video(path: Path, frames: np.ndarray) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12", "preset": "ultrafast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """Two clips (one with a cut), two photographs, and two bad files."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "deep").mkdir()
    write_video(folder / "pan.mp4", moving_texture(12, 96, 128))
    scene = moving_texture(6, 96, 128, 1)
    # every pixel jumps at the cut
    clip = np.concatenate([scene, 255 - scene])
    write_video(folder / "deep" / "cut.mp4", clip)
    (photograph,) = moving_texture(1, 150, 200, 3)
    for name in ("a.png", "b.png"):
        Image.fromarray(photograph).save(folder / name)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (small,) = moving_texture(1, 20, 30, 3)
    Image.fromarray(small).save(folder / "small.png")
    return folder


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Path:
    """12 windows of 4 frames 64x64."""
    path = tmp_path_factory.mktemp("packed") / "windows.npy"
    windows = [moving_texture(4, 64, 64, seed) for seed in range(12)]
    np.save(path, np.stack(windows))
    return path


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    """`nano` with a handful of channels; 2 sampling steps."""
    base = tiny_nano()
    return dataclasses.replace(
        base,
        name="tiny",
        unet=dataclasses.replace(base.unet, block_channels=(8, 8)),
        flow=FlowNetConfig(channels=4, num_levels=2),
        history=nano().history,
        diffusion=dataclasses.replace(base.diffusion, num_steps=2),
    )
