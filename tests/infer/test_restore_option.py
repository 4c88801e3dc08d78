"""`--restore`: its values, and that it reaches the stream."""

import numpy as np
import pytest

from infer.options import Options, check, parse_degree
from sdvsr_jax import Upscaler, init_state
from sdvsr_jax.state import AUTO
from tests.infer.clips import make_video
from tests.tiny_models import random_params, tiny_restored


@pytest.mark.parametrize(
    ("text", "degree"), [("auto", AUTO), ("0", 0.0), ("0.25", 0.25), ("1", 1.0)]
)
def test_degrees_are_auto_or_a_number_from_0_to_1(text: str, degree: float) -> None:
    check(Options(video=("a.mp4",), restore=text))
    assert parse_degree(text) == degree


@pytest.mark.parametrize("text", ["-1", "1.01", "nan", "much", ""])
def test_another_degree_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="expected auto, or a number from 0 to 1"):
        check(Options(video=("a.mp4",), restore=text))


def test_an_upscaler_repairs_to_the_degree_it_was_given() -> None:
    config = tiny_restored()
    model = config, random_params(config)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 255, (32, 32, 3), np.uint8)
    outputs = {}
    for restore in ("auto", 0.0, 1.0):
        with Upscaler(model, restore=restore) as upscaler:
            outputs[restore] = upscaler.push(frame)
    # a repair that the eye would see, of a random network
    difference = np.abs(outputs[1.0].astype(int) - outputs[0.0])
    assert difference.max() > 8
    # It decides for some repair of noise, and one level might be rounding.
    assert np.abs(outputs["auto"].astype(int) - outputs[0.0]).max() > 2
    with pytest.raises(ValueError, match="restore=2"):
        Upscaler(model, restore=2.0)


def test_a_model_without_a_restorer_says_so(upscale, tmp_path) -> None:
    source = make_video(str(tmp_path / "in.mkv"))
    output = tmp_path / "o.mkv"
    status, stderr = upscale("--video", source, "-o", output, "--restore", "0.5")
    assert status == 2
    assert "has no restorer" in stderr.splitlines()[-1]
    names = [path.name for path in tmp_path.iterdir()]
    assert names == ["in.mkv"]


def test_a_fresh_state_decides_itself() -> None:
    state = init_state(tiny_restored(), 3, 32, 32)
    np.testing.assert_array_equal(state.restore, np.full(3, AUTO, np.float32))
