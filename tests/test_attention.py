"""cuDNN's kernel is taken exactly where it can run; the plain form does not depend on
its chunks.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.ops import attention

HOPPER = ("cuda", 9.0)


@pytest.mark.parametrize(
    ("dtype", "head_dim", "device", "expected"),
    [
        ("bfloat16", 64, HOPPER, True),
        ("bfloat16", 128, HOPPER, True),
        ("float16", 64, ("cuda", 8.0), True),
        ("float32", 64, HOPPER, False),
        ("bfloat16", 136, HOPPER, False),
        ("bfloat16", 12, HOPPER, False),
        ("bfloat16", 64, ("cuda", 7.5), False),
        ("bfloat16", 64, ("", 0.0), False),
    ],
)
def test_the_kernel_is_chosen_by_its_rules(
    dtype: str, head_dim: int, device: tuple, expected: bool
) -> None:
    assert attention.runs_in_cudnn(dtype, head_dim, device) is expected


def test_the_choice_asks_for_the_kernel_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("needs a machine without a GPU")
    monkeypatch.setattr(attention, "device_kind", lambda: HOPPER)
    q = jnp.zeros((1, 8, 2, 64), jnp.bfloat16)
    k = jnp.zeros((1, 77, 2, 64), jnp.bfloat16)
    # This machine has no such GPU: JAX itself says so, which proves that it was asked
    # for and not passed over.
    with pytest.raises(RuntimeError, match="cuDNN"):
        attention.attend(q, k, k)
    exact_q, exact_k = (array.astype(jnp.float32) for array in (q, k))
    plain = attention.attend(exact_q, exact_k, exact_k)
    assert plain.shape == q.shape


def test_chunks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def random(length: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal((2, length, 2, 8)), jnp.float32)

    q, k, v = (random(length) for length in (23, 11, 11))
    at_once = attention.attend(q, k, v)
    # five queries at once, of 23: the last chunk is shorter
    monkeypatch.setattr(attention, "MAX_SCORES", 2 * 2 * 11 * 5)
    in_chunks = attention.attend(q, k, v)
    # sums of 11 products near 1, in another order
    np.testing.assert_allclose(in_chunks, at_once, atol=1e-6)


@pytest.mark.parametrize("device", [None, "cpu", jax.devices()[0]])
def test_the_device_of_a_program_is_the_one_that_was_chosen(device):
    with jax.default_device(device):
        assert attention.program_device() == jax.devices("cpu")[0]
