"""Laws of the backward warp: the origin of pixels, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.ops.warp import inside, sample_bilinear, warp

# sides that differ: one that is taken for the other shows
SIZE = (6, 9)


def picture(seed: int = 0) -> jax.Array:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, *SIZE, 3))
    return jnp.asarray(noise, jnp.float32)


def constant_flow(x: float, y: float) -> jax.Array:
    vector = jnp.asarray([x, y], jnp.float32)
    return jnp.broadcast_to(vector, (2, *SIZE, 2))


def test_no_flow_is_the_identity() -> None:
    image = picture()
    still = constant_flow(0, 0)
    np.testing.assert_array_equal(warp(image, still), image)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (-2, 0), (0, 3), (0, -1), (2, -3)])
def test_a_whole_flow_shifts_and_repeats_the_border(x: int, y: int) -> None:
    """out(p) = image(p + flow): a flow to the right brings the picture to the left."""
    image = picture()
    height, width = SIZE
    rows = np.clip(np.arange(height) + y, 0, height - 1)
    columns = np.clip(np.arange(width) + x, 0, width - 1)
    rows_moved = np.asarray(image)[:, rows]
    expected = rows_moved[:, :, columns]
    out = warp(image, constant_flow(x, y))
    np.testing.assert_array_equal(out, expected)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    image = picture()
    out = warp(image, constant_flow(0.5, 0))
    left = image[:, :, :-1]
    right = image[:, :, 1:]
    mean = (left + right) / 2
    # the same sum in another order: one rounding of float32
    np.testing.assert_allclose(out[:, :, :-1], mean, atol=1e-6)


def test_the_gradient_in_the_flow_is_the_slope_of_the_picture() -> None:
    """On a plane a pixel of flow changes the value by the slope, inside the frame."""
    axes = [jnp.arange(side, dtype=jnp.float32) for side in SIZE]
    rows, columns = jnp.meshgrid(*axes, indexing="ij")
    plane = 2 * columns + 5 * rows
    image = plane[None, ..., None]

    def total(flow: jax.Array) -> jax.Array:
        out = warp(image, flow)
        return out[:, 1:-1, 1:-1].sum()

    flow = jnp.full((1, *SIZE, 2), 0.25)
    slope = jax.grad(total)(flow)
    inner = slope[:, 1:-1, 1:-1]
    # sums of four products near 50
    np.testing.assert_allclose(inner[..., 0], 2, atol=1e-4)
    np.testing.assert_allclose(inner[..., 1], 5, atol=1e-4)


def test_the_gradient_in_the_picture_goes_to_the_sampled_pixel() -> None:
    flow = constant_flow(2, 1)

    def pixel(image: jax.Array) -> jax.Array:
        out = warp(image, flow)
        return out[0, 3, 4, 0]

    gradient = jax.grad(pixel)(picture())
    places = np.argwhere(np.asarray(gradient))
    np.testing.assert_array_equal(places, [[0, 4, 6, 0]])


def test_the_published_form_stretches_and_is_grey_outside() -> None:
    """x * W / (W - 1) - 0.5: the first column lies half outside, where pixels are 0."""
    ones = jnp.ones((1, *SIZE, 1))
    still = constant_flow(0, 0)[:1]
    out = warp(ones, still, stretch=True)
    row = out[0, 3, :, 0]
    # weights of two pixels add up to 1 within a rounding of float32
    np.testing.assert_allclose(row[0], 0.5, atol=1e-6)
    np.testing.assert_allclose(row[4], 1, atol=1e-6)
    # beyond the frame from any of its pixels
    distant = constant_flow(100, 0)[:1]
    far = warp(ones, distant, stretch=True)
    np.testing.assert_array_equal(far, jnp.zeros_like(ones))


def is_inside(x: float) -> np.ndarray:
    """Which pixels a flow to the right leaves inside the frame, bool [h, w]."""
    mask = inside(constant_flow(x, 0))
    return np.asarray(mask)[0, :, :, 0]


def test_inside_ends_half_a_pixel_beyond_the_frame() -> None:
    on_the_edge = is_inside(0.5)
    assert on_the_edge.all()
    beyond = is_inside(0.75)
    assert beyond[:, :-1].all()
    assert not beyond[:, -1].any()


def test_pixels_are_found_in_an_image_of_more_than_float32_can_number() -> None:
    """An 8K frame has 33 million pixels; float32 counts to 16.8 million."""
    # three rows: the third begins at pixel 16,777,226, beyond 2**24
    height, width = 3, 2**23 + 5
    # a prime: places that differ by a power of two have other levels
    levels = jnp.arange(width) % 251
    rows = jnp.arange(height)[:, None]
    image = levels + 1000.0 * rows
    x = jnp.array([[1.0, 7.0, 12345.0, 2.0**22 + 1, 2.0**23 - 1]])
    y = jnp.full_like(x, 2)
    pixels = sample_bilinear(image[None, :, :, None], x, y)
    expected = np.asarray(x[0]) % 251 + 2000
    np.testing.assert_array_equal(pixels[0, :, 0], expected)
