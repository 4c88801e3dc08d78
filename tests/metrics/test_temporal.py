import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sdvsr_jax.metrics.flow import lucas_kanade
from sdvsr_jax.metrics.luma import HALF
from sdvsr_jax.metrics.temporal import tof, visible, warping_error
from sdvsr_jax.ops.warp import warp

flow_of = jax.jit(lucas_kanade)
SIZE = 64
MARGIN = 16
"""Pixels of the texture beyond the frame on every side: more than any shift."""


def texture(seed: int, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((1, size, size, 3))
    smooth = gaussian_filter(noise, (0, 2, 2, 0))
    unit = smooth / np.abs(smooth).max()
    return unit.astype(np.float32)


def shifted(seed: int, dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """Current and previous frame cut from one texture, so that current(p) = previous(p
    + (dx, dy)).
    """
    big = texture(seed, SIZE + 2 * MARGIN)

    def cut(top: int, left: int) -> np.ndarray:
        return big[:, top : top + SIZE, left : left + SIZE]

    return cut(MARGIN + dy, MARGIN + dx), cut(MARGIN, MARGIN)


def constant_flow(x: float, y: float) -> jax.Array:
    vector = jnp.asarray([x, y])
    return jnp.broadcast_to(vector, (1, SIZE, SIZE, 2))


# a shift of 6 along both axes is beyond what the coarsest level finds in some of these
# textures
@given(st.integers(0, 99), st.integers(-4, 4), st.integers(-4, 4))
@settings(max_examples=10, deadline=None)
def test_flow_finds_a_shift(seed, dx, dy):
    current, previous = shifted(seed, dx, dy)
    flow = np.asarray(flow_of(current, previous))[0]
    # three deviations of the window, which reach beyond the frame nearer to its border
    inner = flow[12:-12, 12:-12]
    error = np.linalg.norm(inner - [dx, dy], axis=-1)
    # the ridge pulls the flow a little towards that of the level above
    assert np.median(error) < 0.15


def test_flow_finds_less_than_a_pixel():
    previous = texture(3)
    motion = constant_flow(0.4, -0.3)
    current = warp(jnp.asarray(previous), motion)
    flow = np.asarray(flow_of(current, previous))[0]
    inner = flow[8:-8, 8:-8]
    median = np.median(inner, axis=(0, 1))
    # bilinear interpolation blurs: 5 % of the motion
    np.testing.assert_allclose(median, [0.4, -0.3], atol=0.02)


def test_flow_is_near_that_of_scikit_image():
    from skimage.registration import optical_flow_ilk

    # a slow zoom: every pixel moves differently
    ys, xs = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    truth = np.stack([0.05 * xs, 0.05 * ys], -1).astype(np.float32)
    previous = texture(4)
    zoomed = warp(jnp.asarray(previous), jnp.asarray(truth[None]))
    current = np.asarray(zoomed)
    greys = [image[0].mean(-1) for image in (current, previous)]
    rows_first = optical_flow_ilk(*greys, radius=5)
    theirs = np.moveaxis(rows_first[::-1], 0, -1)
    ours = np.asarray(flow_of(current, previous))[0]

    def error(flow):
        distance = np.linalg.norm(flow - truth, axis=-1)
        return distance[8:-8, 8:-8].mean()

    # motion is up to 2 pixels: 5 % of it, and not much worse than the other's windows
    assert error(ours) < 0.1
    assert error(ours) < 1.5 * error(theirs)


def test_what_stands_still_or_has_no_texture_does_not_move():
    flat = jnp.zeros((1, SIZE, SIZE, 3))
    of_flat = flow_of(flat, flat + 0.1)
    # without gradients the step is zero
    np.testing.assert_allclose(of_flat, 0, atol=1e-6)
    still = texture(9)
    of_still = flow_of(still, still)
    # zero today; a frame that is sampled at its own pixels may be rounded once
    np.testing.assert_allclose(of_still, 0, atol=1e-4)


def test_visible_marks_what_was_covered():
    """A square moves 6 px to the right over a still ground: the ground behind it was
    hidden before.
    """
    ground = texture(5)
    square = texture(6)
    frames = []
    for left in (20, 26):
        frame = ground.copy()
        frame[:, 20:44, left : left + 24] = square[:, 20:44, 20:44]
        frames.append(frame)
    previous, current = frames
    forward = np.zeros((1, SIZE, SIZE, 2), np.float32)
    forward[:, 20:44, 26:50, 0] = -6
    backward = np.zeros((1, SIZE, SIZE, 2), np.float32)
    backward[:, 20:44, 20:44, 0] = 6
    flow = jnp.asarray(forward)
    mask = visible(flow, jnp.asarray(backward))
    visibility = np.asarray(mask)[0, ..., 0]
    uncovered_ground = visibility[20:44, 20:26]
    # all of it but a few pixels of its border
    assert uncovered_ground.mean() < 0.1
    # a pixel inside the square's border, where flows are interpolated
    inside_the_square = visibility[21:43, 27:49]
    assert inside_the_square.mean() == 1
    ground_above = visibility[:18]
    assert ground_above.mean() == 1
    error = warping_error(current, previous, flow, mask)
    everything = jnp.ones_like(mask)
    unmasked = warping_error(current, previous, flow, everything)
    # the rest is the same pixels, up to their rounding to levels
    assert error[0] < 1e-4 < unmasked[0]


def test_leaving_the_image_is_not_visible():
    flow = constant_flow(7.0, 0.0)
    visibility = np.asarray(visible(flow, -flow))[0, ..., 0]
    assert visibility[:, : SIZE - 7].all()
    assert not visibility[:, SIZE - 7 :].any()


def test_warping_error_of_a_perfectly_shifted_frame_is_zero_and_counts_brightness():
    current, previous = shifted(8, 3, -2)
    flow = constant_flow(3.0, -2.0)
    mask = visible(flow, -flow)
    error = warping_error(current, previous, flow, mask)
    # whole pixels: the same levels but for float32's rounding
    np.testing.assert_allclose(error, 0, atol=1e-7)
    # half the range leaves room for 20 levels more
    before = current * 0.5
    after = before + 20 / HALF
    still = constant_flow(0.0, 0.0)
    everything = jnp.ones_like(mask)
    flicker = warping_error(after, before, still, everything)
    # some values round to another level
    np.testing.assert_allclose(flicker, (20 / 255) ** 2, rtol=0.02)


def test_tof_is_the_length_of_the_difference():
    flow = jnp.zeros((1, 8, 8, 2))
    other = flow + jnp.asarray([3.0, 4.0])
    np.testing.assert_allclose(tof(other, flow), 5)
