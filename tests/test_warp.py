"""Laws of the backward warp: the origin of pixels, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.ops.warp import inside, sample_bilinear, warp

SIZE = (6, 9)


def picture(seed: int = 0) -> jax.Array:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((2, *SIZE, 3)), jnp.float32)


def constant_flow(x: float, y: float) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray([x, y], jnp.float32), (2, *SIZE, 2))


def test_no_flow_is_the_identity() -> None:
    image = picture()
    np.testing.assert_array_equal(warp(image, constant_flow(0, 0)), image)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (-2, 0), (0, 3), (0, -1), (2, -3)])
def test_a_whole_flow_shifts_and_repeats_the_border(x: int, y: int) -> None:
    """out(p) = image(p + flow): a flow to the right brings the picture to the left."""
    image = picture()
    height, width = SIZE
    rows = np.clip(np.arange(height) + y, 0, height - 1)
    columns = np.clip(np.arange(width) + x, 0, width - 1)
    expected = np.asarray(image)[:, rows][:, :, columns]
    np.testing.assert_array_equal(warp(image, constant_flow(x, y)), expected)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    image = picture()
    out = warp(image, constant_flow(0.5, 0))
    mean = (image[:, :, :-1] + image[:, :, 1:]) / 2
    # the same sum in another order: one rounding of float32
    np.testing.assert_allclose(out[:, :, :-1], mean, atol=1e-6)


def test_the_gradient_in_the_flow_is_the_slope_of_the_picture() -> None:
    """On a plane a pixel of flow changes the value by the slope, inside the frame."""
    rows, columns = jnp.meshgrid(jnp.arange(6.0), jnp.arange(9.0), indexing="ij")
    plane = (2 * columns + 5 * rows)[None, ..., None]
    flow = jnp.full((1, *SIZE, 2), 0.25)
    slope = jax.grad(lambda f: warp(plane, f)[:, 1:-1, 1:-1].sum())(flow)
    inner = slope[:, 1:-1, 1:-1]
    # sums of four products near 50
    np.testing.assert_allclose(inner[..., 0], 2, atol=1e-4)
    np.testing.assert_allclose(inner[..., 1], 5, atol=1e-4)


def test_the_gradient_in_the_picture_goes_to_the_sampled_pixel() -> None:
    flow = constant_flow(2, 1)
    grad = jax.grad(lambda image: warp(image, flow)[0, 3, 4, 0])(picture())
    place = np.argwhere(np.asarray(grad))
    np.testing.assert_array_equal(place, [[0, 4, 6, 0]])


def test_the_published_form_stretches_and_is_grey_outside() -> None:
    """x * W / (W - 1) - 0.5: the first column lies half outside, where pixels are 0."""
    ones = jnp.ones((1, *SIZE, 1))
    out = warp(ones, constant_flow(0, 0)[:1], stretch=True)
    np.testing.assert_allclose(out[0, 3, 0, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(out[0, 3, 4, 0], 1, atol=1e-6)
    far = warp(ones, constant_flow(100, 0)[:1], stretch=True)
    np.testing.assert_array_equal(far, jnp.zeros_like(ones))


def test_inside_ends_half_a_pixel_beyond_the_frame() -> None:
    reached = inside(constant_flow(0.5, 0))[0, :, :, 0]
    assert bool(reached.all())
    beyond = inside(constant_flow(0.75, 0))[0, :, :, 0]
    assert bool(beyond[:, :-1].all())
    assert not bool(beyond[:, -1].any())


def test_pixels_are_found_in_an_image_of_more_than_float32_can_number() -> None:
    """An 8K frame has 33 million pixels; float32 counts to 16.8 million."""
    height, width = 3, 2**23 + 5
    image = jnp.arange(width) % 251 + 1000.0 * jnp.arange(height)[:, None]
    x = jnp.array([[1.0, 7.0, 12345.0, 2.0**22 + 1, 2.0**23 - 1]])
    pixels = sample_bilinear(image[None, :, :, None], x, jnp.full_like(x, 2))
    np.testing.assert_array_equal(pixels[0, :, 0], np.asarray(x[0]) % 251 + 2000)
