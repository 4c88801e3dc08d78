"""Sampling at positions that float32 cannot count as one number."""

import jax.numpy as jnp
import numpy as np

from sdvsr_jax.ops.warp import sample_bilinear


def test_pixels_are_found_in_an_image_of_more_than_float32_can_number() -> None:
    """An 8K frame has 33 million pixels; float32 counts to 16.8 million."""
    height, width = 3, 2**23 + 5
    image = jnp.arange(width) % 251 + 1000.0 * jnp.arange(height)[:, None]
    x = jnp.array([[1.0, 7.0, 12345.0, 2.0**22 + 1, 2.0**23 - 1]])
    found = sample_bilinear(image[None, :, :, None], x, jnp.full_like(x, 2))
    np.testing.assert_array_equal(found[0, :, 0], np.asarray(x[0]) % 251 + 2000)
