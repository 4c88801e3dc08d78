"""Streams: our step in JAX, in PyTorch and, exported with its state, in other runtimes;
and Real-ESRGAN's compact network, which a user might pick instead.
"""

import importlib
import itertools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.clock import NUM_INPUTS
from benchmarks.frame import Form, Program
from benchmarks.inputs import noise_frame, prepared_params
from benchmarks.report import Size, in_precision
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.stream import StreamState, frame_noise, init_state, padded_size, step
from sdvsr_jax.types import Params, Prepared

Arrays = list[np.ndarray]
Graph = Callable[[Arrays], Arrays]
"""Inputs in the order of the graph -> its outputs."""
Advance = Callable[[int], Any]
"""Number of an LR frame, below `NUM_INPUTS` -> the frame, upscaled and finished."""

COMPACT_CHANNELS = 64
COMPACT_WIDTHS = (3, *[COMPACT_CHANNELS] * 33, 3 * 4**2)
"""Of Real-ESRGAN's general x4 video network (SRVGGNetCompact): 34 convolutions."""


class Stream:
    """A video stream that is driven one frame per call and waits for the result."""

    def __init__(
        self, advance: Advance, to_numpy: Callable[[Any], np.ndarray] = np.asarray
    ) -> None:
        self._advance = advance
        self._index = 0
        # Compilers run and kernels are loaded in these.
        self.outputs = [to_numpy(self()) for _ in range(NUM_INPUTS)]

    def __call__(self) -> Any:
        number = self._index % NUM_INPUTS
        self._index += 1
        return self._advance(number)

    def error(self, reference: "Stream") -> float:
        """Returns the largest relative difference of a frame from the reference's."""
        norm = np.linalg.norm
        errors = []
        for ours, theirs in zip(self.outputs, reference.outputs):
            difference = norm(ours - theirs)
            errors.append(float(difference / norm(theirs)))
        return max(errors)


def ours(config: ModelConfig, raw: Params, lr: Size, *, graphs: bool = False) -> Stream:
    """Returns our step."""
    params: Any = prepared_params(config, raw)
    program = Program(Form(config, graphs=graphs), lr, params)
    return Stream(lambda number: program())


def step_inputs(config: ModelConfig, lr: Size) -> list[tuple[jax.Array, jax.Array]]:
    """Returns LR frame and noise of the first frames, as our step takes them.

    A stream goes through them again and again: only the first ones are compared.
    """
    state = init_state(config, 1, lr.height, lr.width)
    grid = padded_size(lr.height, lr.width, config)
    pairs = []
    for index in range(NUM_INPUTS):
        frame = noise_frame(lr, seed=index)
        # The noise of a frame depends on its number in the stream.
        counted = state._replace(frame_index=jnp.full(1, index))
        noise = frame_noise(counted, grid, config)
        pairs.append((frame, noise))
    return pairs


def torch_step(config: ModelConfig, raw: Params, lr: Size, mode: str) -> Stream:
    """Returns PyTorch's form of our step: 'eager', 'compiled' or 'graphs'."""
    grid = (lr.height, lr.width)
    if grid != padded_size(*grid, config):
        raise ValueError(
            f"{lr.width}x{lr.height} is padded by our step, which PyTorch's form "
            "does not do: give a size that needs no padding, such as 320x180"
        )
    # The oracles are in the repository, not in the package.
    from tests.oracles import torch_stream

    # nano's form takes what `prepare` precomputes, the published one needs nothing.
    weights: Params | Prepared = raw
    if isinstance(config.flow, FlowNetConfig):
        weights = prepared_params(in_precision(config, "float32"), raw)
    run, to_numpy = torch_stream.runner(config, weights, mode)
    inputs = step_inputs(config, lr)
    return Stream(lambda number: run(*inputs[number]), to_numpy)


def export(config: ModelConfig, raw: Params, lr: Size) -> bytes:
    """Returns our step as an ONNX graph: state, frame, noise -> state, frame.

    The noise is an input, because graphs have no random numbers like JAX's.
    """
    to_onnx = importlib.import_module("jax2onnx").to_onnx
    state = init_state(config, 1, lr.height, lr.width)
    # A graph takes no key.
    leaves, tree = jax.tree.flatten(state._replace(key=None))
    params = prepared_params(config, raw)

    def flat_step(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        *old, frame, noise = arrays
        before: StreamState = jax.tree.unflatten(tree, old)
        before = before._replace(key=state.key)
        after, sr = step(params, before, frame, config=config, noise=noise)
        new = jax.tree.leaves(after._replace(key=None))
        return (*new, sr)

    first, *_ = step_inputs(config, lr)
    arrays = [*leaves, *first]
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
    graph = to_onnx(flat_step, inputs=shapes, model_name="step")
    return graph.SerializeToString()


def run_graph(
    load: Callable[[Path], Graph],
    graph: Callable[[], bytes],
    config: ModelConfig,
    lr: Size,
) -> Stream:
    """Returns the step of `export` in the runtime that ``load`` reads it with."""
    data = graph()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.onnx"
        path.write_bytes(data)
        run = load(path)
    inputs = step_inputs(config, lr)
    state = init_state(config, 1, lr.height, lr.width)
    leaves = jax.tree.leaves(state._replace(key=None))
    carried = [np.asarray(leaf) for leaf in leaves]

    def advance(number: int) -> np.ndarray:
        arrays = [np.asarray(array) for array in inputs[number]]
        *new, sr = run([*carried, *arrays])
        carried[:] = new
        return sr

    return Stream(advance)


def onnxruntime_graph(path: Path) -> Graph:
    """Reads a graph with ONNX Runtime."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    # Errors alone: of constants that the exporter left over it tells one by one.
    options.log_severity_level = 3
    # Its threads would wait for work in a loop, at the cost of whose turn it is.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(arrays: Arrays) -> Arrays:
        feed = dict(zip(names, arrays, strict=True))
        return session.run(None, feed)

    return run


def openvino_graph(path: Path) -> Graph:
    """Reads a graph with OpenVINO."""
    openvino = importlib.import_module("openvino")
    # bfloat16 would be its choice on some CPUs.
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    graph = core.compile_model(path, "CPU", options)

    def run(arrays: Arrays) -> Arrays:
        outputs = graph(arrays)
        # Copied, because the next call writes over them.
        return [np.array(output) for output in outputs.values()]

    return run


def compact_torch(lr: Size) -> Stream:
    """Returns the compact network with random weights in PyTorch."""
    torch = importlib.import_module("torch")
    nn = torch.nn
    layers = []
    for inputs, outputs in itertools.pairwise(COMPACT_WIDTHS):
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
        if outputs == COMPACT_CHANNELS:
            layers.append(nn.PReLU(outputs))
    body = nn.Sequential(*layers, nn.PixelShuffle(4))
    # The layout in which convolutions are fastest on a CPU.
    body = body.eval().to(memory_format=torch.channels_last)
    frames = _planes(lr)

    def advance(number: int) -> np.ndarray:
        with torch.no_grad():
            x = torch.from_numpy(frames[number])
            x = x.contiguous(memory_format=torch.channels_last)
            enlarged = nn.functional.interpolate(x, scale_factor=4, mode="nearest")
            sr = body(x) + enlarged
            return sr.numpy()

    return Stream(advance)


def compact_ncnn(lr: Size) -> Stream:
    """Returns the same layers in ncnn."""
    ncnn = importlib.import_module("ncnn")
    net = ncnn.Net()
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "compact.param"
        weights = Path(folder) / "compact.bin"
        graph.write_text(_ncnn_layers(), "ascii")
        weights.write_bytes(_ncnn_weights())
        net.load_param(str(graph))
        net.load_model(str(weights))
    frames = _planes(lr)

    def advance(number: int) -> np.ndarray:
        with net.create_extractor() as extractor:
            (planes,) = frames[number]
            extractor.input("in", ncnn.Mat(planes))
            _, sr = extractor.extract("out")
            return np.array(sr)

    return Stream(advance)


def _planes(lr: Size) -> list[np.ndarray]:
    """The LR frames, channels first."""
    planes = []
    for seed in range(NUM_INPUTS):
        frame = np.asarray(noise_frame(lr, seed=seed))
        channels_first = frame.transpose(0, 3, 1, 2)
        planes.append(np.ascontiguousarray(channels_first))
    return planes


def _ncnn_layers() -> str:
    """The compact network in ncnn's text form: type, name, inputs, outputs, options."""
    layers = ["Input in 0 1 in", "Split split 1 2 in x0 low"]
    for i, (inputs, outputs) in enumerate(itertools.pairwise(COMPACT_WIDTHS)):
        num_weights = 9 * inputs * outputs
        options = f"0={outputs} 1=3 4=1 5=1 6={num_weights}"
        layers.append(f"Convolution conv{i} 1 1 x{i} y{i} {options}")
        if outputs == COMPACT_CHANNELS:
            layers.append(f"PReLU act{i} 1 1 y{i} x{i + 1} 0={outputs}")
    last = len(COMPACT_WIDTHS) - 2
    layers += [
        f"PixelShuffle shuffle 1 1 y{last} high 0=4",
        "Interp enlarge 1 1 low enlarged 0=1 1=4.0 2=4.0",
        "BinaryOp add 2 1 high enlarged out 0=0",
    ]
    # A number that says which format this is; layers, and blobs between them.
    num_layers = len(layers)
    lines = ["7767517", f"{num_layers} {num_layers + 1}", *layers, ""]
    return "\n".join(lines)


def _ncnn_weights() -> bytes:
    """Random weights in the order of the layers, biases of zero."""
    rng = np.random.default_rng(0)
    data = b""
    for inputs, outputs in itertools.pairwise(COMPACT_WIDTHS):
        fan_in = 9 * inputs
        noise = rng.standard_normal(fan_in * outputs, np.float32)
        # A tag of zero says that float32 follows.
        tag = bytes(4)
        kernel = noise / np.float32(math.sqrt(fan_in))
        bias = np.zeros(outputs, np.float32)
        data += tag + kernel.tobytes() + bias.tobytes()
        if outputs == COMPACT_CHANNELS:
            slopes = np.full(outputs, 0.25, np.float32)
            data += slopes.tobytes()
    return data


GRAPHS = {"ONNX Runtime": onnxruntime_graph, "OpenVINO": openvino_graph}
COMPACT = {"compact in PyTorch": compact_torch, "compact in ncnn": compact_ncnn}
"""Real-ESRGAN's compact network."""
