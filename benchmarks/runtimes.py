"""What a user might pick instead, on a CPU: our step exported with its state for other
runtimes, and Real-ESRGAN's compact network at the same output size.
"""

import functools
import importlib
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.inputs import noise_frame, prepared_params
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.stream import StreamState, frame_noise, init_state, step
from sdvsr_jax.types import Params

Arrays = list[np.ndarray]
Session = Callable[[Arrays], Arrays]
"""Inputs in the order of the graph -> its outputs."""
Advance = Callable[[int], np.ndarray]
"""Number of a frame -> the frame, upscaled."""

COMPACT_CHANNELS = 64
COMPACT_CONVS = 32
"""Layer sizes of Real-ESRGAN's general x4 video network (SRVGGNetCompact)."""


def exported(
    load: Callable[[Path], Session],
    config: ModelConfig,
    raw: Params,
    width: int,
    height: int,
) -> Advance:
    """Returns our step in the runtime that ``load`` reads a graph with.

    The noise is an input, because graphs have no random numbers like JAX's.
    """
    state = init_state(config, 1, height, width)
    numbers = state._replace(key=None)
    leaves, tree = jax.tree.flatten(numbers)
    params = prepared_params(config, raw)

    def flat_step(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        *old, lr, noise = arrays
        before: StreamState = jax.tree.unflatten(tree, old)
        before = before._replace(key=state.key)
        after, sr = step(params, before, lr, config=config, noise=noise)
        return (*jax.tree.leaves(after._replace(key=None)), sr)

    noise = frame_noise(state, (height, width), config)
    shapes = [*leaves, noise_frame(width, height), noise]
    run = load_graph(load, flat_step, shapes)
    held = [np.asarray(leaf) for leaf in leaves]

    def advance(index: int) -> np.ndarray:
        counted = state._replace(frame_index=jnp.full(1, index))
        lr = noise_frame(width, height, seed=index % 3)
        noise = frame_noise(counted, (height, width), config)
        *held[:], sr = run([*held, np.asarray(lr), np.asarray(noise)])
        return sr

    return advance


def load_graph(
    load: Callable[[Path], Session], function: Callable, arrays: list[jax.Array]
) -> Session:
    """Returns the function as ONNX in a runtime."""
    to_onnx = importlib.import_module("jax2onnx").to_onnx

    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
    graph = to_onnx(function, inputs=shapes, model_name="step")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.onnx"
        path.write_bytes(graph.SerializeToString())
        return load(path)


def _onnxruntime(path: Path) -> Session:
    onnxruntime = importlib.import_module("onnxruntime")

    options = onnxruntime.SessionOptions()
    # Its threads would wait for work in a loop, at the cost of whose turn it is.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def _openvino(path: Path) -> Session:
    openvino = importlib.import_module("openvino")

    core = openvino.Core()
    # bfloat16 would be its choice on some CPUs.
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(path, "CPU", options)
    return lambda arrays: [np.array(out) for out in compiled(arrays).values()]


def compact_torch(width: int, height: int) -> Advance:
    """Returns the compact network with random weights in PyTorch: number -> frame."""
    torch = importlib.import_module("torch")

    network = _compact(torch).to(memory_format=torch.channels_last)

    def advance(index: int) -> np.ndarray:
        frame = np.asarray(noise_frame(width, height, seed=index % 3))
        with torch.no_grad():
            x = torch.from_numpy(frame.transpose(0, 3, 1, 2))
            return network(x.contiguous(memory_format=torch.channels_last)).numpy()

    return advance


def _compact(torch: Any) -> Any:
    """Convolutions of 3x3 with PReLU, sub-pixel shuffling, the enlarged input added."""
    nn = torch.nn

    class Compact(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = COMPACT_CHANNELS
            body = [nn.Conv2d(3, width, 3, 1, 1), nn.PReLU(width)]
            for _ in range(COMPACT_CONVS):
                body += [nn.Conv2d(width, width, 3, 1, 1), nn.PReLU(width)]
            body += [nn.Conv2d(width, 48, 3, 1, 1), nn.PixelShuffle(4)]
            self.body = nn.Sequential(*body)

        def forward(self, x: Any) -> Any:
            enlarged = nn.functional.interpolate(x, scale_factor=4, mode="nearest")
            return self.body(x) + enlarged

    return Compact().eval()


def compact_ncnn(width: int, height: int) -> Advance:
    """Returns the same layers in ncnn, written as its own graph with random weights."""
    ncnn = importlib.import_module("ncnn")

    with _ncnn_files() as (graph, weights):
        net = ncnn.Net()
        net.load_param(str(graph))
        net.load_model(str(weights))

    def advance(index: int) -> np.ndarray:
        frame = np.asarray(noise_frame(width, height, seed=index % 3))
        with net.create_extractor() as extractor:
            planes = np.ascontiguousarray(frame[0].transpose(2, 0, 1))
            extractor.input("in", ncnn.Mat(planes))
            _, sr = extractor.extract("out")
            return np.array(sr)

    return advance


@contextmanager
def _ncnn_files() -> Iterator[tuple[Path, Path]]:
    """Yields ncnn's text of the layers and its file of weights."""
    rng = np.random.default_rng(0)
    layers = ["Input in 0 1 in", "Split split 1 2 in x0 kept"]
    weights = []
    widths = [3, *[COMPACT_CHANNELS] * (COMPACT_CONVS + 1), 48]
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        size = 9 * inputs * outputs
        layers.append(
            f"Convolution conv{i} 1 1 x{i} y{i} 0={outputs} 1=3 4=1 5=1 6={size}"
        )
        kernel = rng.standard_normal(size, np.float32) / math.sqrt(9 * inputs)
        # A tag of zero says that float32 follows.
        weights += [np.zeros(1, np.float32), kernel, np.zeros(outputs, np.float32)]
        if outputs == COMPACT_CHANNELS:
            layers.append(f"PReLU act{i} 1 1 y{i} x{i + 1} 0={outputs}")
            weights.append(np.full(outputs, 0.25, np.float32))
    last = len(widths) - 2
    layers += [
        f"PixelShuffle shuffle 1 1 y{last} shuffled 0=4",
        "Interp enlarge 1 1 kept enlarged 0=1 1=4.0 2=4.0",
        "BinaryOp add 2 1 shuffled enlarged out 0=0",
    ]
    blobs = len(layers) + 1
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "compact.param"
        lines = ["7767517", f"{len(layers)} {blobs}", *layers]
        graph.write_text("\n".join(lines) + "\n", "ascii")
        file = graph.with_suffix(".bin")
        file.write_bytes(b"".join(array.tobytes() for array in weights))
        yield graph, file


EXPORTED: dict[str, Callable[..., Advance]] = {
    "ONNX Runtime": functools.partial(exported, _onnxruntime),
    "OpenVINO": functools.partial(exported, _openvino),
}
COMPACT: dict[str, Callable[[int, int], Advance]] = {
    "compact in PyTorch": compact_torch,
    "compact in ncnn": compact_ncnn,
}
"""Real-ESRGAN's compact network."""
