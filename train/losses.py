"""Losses, one function each. Images are [-1, 1] NHWC; every loss is a float32 scalar (a
mean).
"""

import jax
import jax.numpy as jnp
import optax

from sdvsr_jax.config import DiffusionConfig
from sdvsr_jax.diffusion import step_coefficients
from sdvsr_jax.ops.warp import inside, warp
from sdvsr_jax.types import Array, Float, Flow, Latents, LRFrame, Mask, SRFrame

Values = Float[Array, "..."]
"""Any two arrays of one shape."""


def latent_x0(x0: Latents, z: Latents) -> Array:
    """mean (x0 - z)^2: the clean estimate against the latents of the ground truth."""
    error = x0 - z
    return jnp.mean(error**2)


def latent_v(
    sample: Latents, x0: Latents, z: Latents, noise: Latents, config: DiffusionConfig
) -> Array:
    """mean (v - (a n - s z))^2 with v the network's last prediction (released training
    code).

    The scan returns x' = a' x0 + s' eps and x0, so eps = (x' - a' x0) / s' and v = a
    eps - s x0.
    """
    if config.set_alpha_to_one:
        # the last step would end at s' = 0, and eps is a quotient by it
        raise ValueError(
            "the v form of the latent loss needs set_alpha_to_one=False (s' > 0): use "
            "latent_form=x0"
        )
    coefficients = step_coefficients(config)
    # the last step's, whose prediction this is
    alpha = coefficients.alpha[-1]
    sigma = coefficients.sigma[-1]
    next_alpha = coefficients.next_alpha[-1]
    next_sigma = coefficients.next_sigma[-1]
    eps = (sample - next_alpha * x0) / next_sigma
    v = alpha * eps - sigma * x0
    return velocity(v, z, noise, alpha, sigma)


def velocity(
    v: Latents, z: Latents, noise: Latents, alpha: Array, sigma: Array
) -> Array:
    """mean (v - (a n - s z))^2: v-prediction at one noise level."""
    target = alpha * noise - sigma * z
    error = v - target
    return jnp.mean(error**2)


def moments(z: Latents) -> Array:
    """mean_c m_c^2 + (d_c - 1)^2 with m, d the batch mean and deviation of channel c:
    latents the noise fits.
    """
    places = (0, 1, 2)
    mean = z.mean(places)
    square = (z - mean) ** 2
    variance = square.mean(places)
    # 1e-6: the root has a gradient at 0
    deviation = jnp.sqrt(variance + 1e-6)
    excess = deviation - 1
    return jnp.mean(mean**2 + excess**2)


def charbonnier(x: Values, y: Values, epsilon: float = 1e-3) -> Array:
    """mean sqrt((x - y)^2 + eps^2)."""
    square = (x - y) ** 2
    error = jnp.sqrt(square + epsilon**2)
    return jnp.mean(error)


def smooth_l1(x: Values, y: Values, beta: float = 0.1) -> Array:
    """mean of d^2 / (2 beta) where d = |x - y| < beta, else d - beta / 2."""
    # optax's is beta times as large: its slope is beta, this one's 1
    huber = optax.losses.huber_loss(x, y, delta=beta)
    return jnp.mean(huber) / beta


def phase_pattern(x: SRFrame, y: SRFrame, period: int = 4) -> Array:
    """mean (m_pq - m)^2, m_pq the mean of x - y over the pixels of one phase (row and
    column modulo the period) and over the batch.

    Sub-pixel layers leave a fixed pattern of that period behind. It is zero in the mean
    of a cell, so no loss at LR size sees it.
    """
    pattern = phase_means(x - y, period)
    return jnp.mean(pattern**2)


def phase_means(image: SRFrame, period: int) -> Float[Array, "p q 3"]:
    """Mean over the batch and over all cells of each phase, less the mean of all."""
    b, height, width, c = image.shape
    rows = height // period
    columns = width // period
    cells = image.reshape(b, rows, period, columns, period, c)
    means = cells.mean((0, 1, 3))
    return means - means.mean((0, 1))


def occlusion_mask(flow: Flow, backward: Flow) -> Mask:
    """1 where the flow can be trusted (Ruder et al. 2016): in bounds, consistent, and
    not at a motion border.

    |F + W(B)|^2 < 0.01 (|F|^2 + |W(B)|^2) + 0.5  and  |grad u|^2 + |grad v|^2 <= 0.01
    |F|^2 + 0.002.
    """

    def squared(x: Array) -> Array:
        return jnp.sum(x**2, -1, keepdims=True)

    length = squared(flow)
    back = warp(backward, flow)
    # there and back again is nowhere, but for an error that grows with the way
    detour = squared(flow + back)
    lengths = length + squared(back)
    is_consistent = detour < 0.01 * lengths + 0.5
    # behind the last row and column is nothing that could move differently
    none = (0, 0)
    one_behind = (0, 1)
    down = jnp.diff(flow, axis=1)
    right = jnp.diff(flow, axis=2)
    dy = jnp.pad(down, (none, one_behind, none, none))
    dx = jnp.pad(right, (none, none, one_behind, none))
    gradient = squared(dx) + squared(dy)
    is_smooth = gradient <= 0.01 * length + 0.002
    is_reliable = inside(flow) & is_consistent & is_smooth
    return is_reliable.astype(jnp.float32)


def temporal_residual(
    sr: SRFrame,
    prev_sr: SRFrame,
    hr: SRFrame,
    prev_hr: SRFrame,
    flow: Flow,
    mask: Mask,
    epsilon: float = 1e-3,
) -> Array:
    """sum M rho((Y - W sg(Y')) - (X - W X')) / (3 sum M + 1e-6), rho(d) = sqrt(d^2 +
    eps^2).

    The change of the output against the change of the truth: blur is not rewarded and
    true lighting change stays.
    """
    prev_sr = jax.lax.stop_gradient(prev_sr)
    warped = warp(prev_sr, flow)
    true_warped = warp(prev_hr, flow)
    change = sr - warped
    true_change = hr - true_warped
    square = (change - true_change) ** 2
    error = jnp.sqrt(square + epsilon**2)
    return _masked_mean(error, mask)


def _masked_mean(error: SRFrame, mask: Mask) -> Array:
    """Mean of three channels where the mask is 1; 0 where it is empty."""
    total = jnp.sum(mask * error)
    num_values = 3 * jnp.sum(mask)
    return total / (num_values + 1e-6)


def photometric(
    frame: SRFrame, previous: SRFrame, flow: Flow, alpha: float = 0.45
) -> Array:
    """mean over the inside of ((F - W F')^2 + 0.01^2)^alpha: the flow explains the
    frame (Sun et al. 2014).
    """
    warped = warp(previous, flow)
    square = (frame - warped) ** 2
    error = (square + 1e-4) ** alpha
    valid = inside(flow).astype(jnp.float32)
    return _masked_mean(error, valid)


def flow_smoothness(flow: Flow, lr: LRFrame, edge: float = 10.0) -> Array:
    """mean exp(-edge |grad L|) |grad F| over both axes: flow may break where the
    picture does.
    """
    total = jnp.zeros(())
    for axis in (1, 2):
        step = jnp.abs(jnp.diff(flow, axis=axis))
        contrast = jnp.abs(jnp.diff(lr, axis=axis))
        gradient = contrast.mean(-1, keepdims=True)
        weight = jnp.exp(-edge * gradient)
        # 1e-6: the root has a gradient at 0
        roughness = jnp.sqrt(step**2 + 1e-6)
        total += jnp.mean(weight * roughness)
    return total


def generator_adversarial(fake_logits: Mask, importance: Mask | None = None) -> Array:
    """mean w softplus(-D(fake)), w = 1 without importance."""
    surprise = jax.nn.softplus(-fake_logits)
    if importance is not None:
        surprise = importance * surprise
    return jnp.mean(surprise)


def discriminator(real_logits: Mask, fake_logits: Mask) -> Array:
    """mean softplus(-D(real)) + mean softplus(D(fake))."""
    of_real = jax.nn.softplus(-real_logits)
    of_fake = jax.nn.softplus(fake_logits)
    return jnp.mean(of_real) + jnp.mean(of_fake)


def adaptive_weight(rec_gradient: list[Array], adv_gradient: list[Array]) -> Array:
    """min(|d rec/dW| / (|d adv/dW| + 1e-4), 1e4), no gradient: the adversarial term
    pulls W as hard as the rest.
    """

    def norm(leaves: list[Array]) -> Array:
        squares = jnp.zeros(())
        for leaf in leaves:
            # a sum in 16 bits would lose the small ones
            wide = leaf.astype(jnp.float32)
            squares += jnp.sum(wide**2)
        return jnp.sqrt(squares)

    pull_rec = norm(rec_gradient)
    pull_adv = norm(adv_gradient)
    ratio = pull_rec / (pull_adv + 1e-4)
    # both bounds are VQGAN's (Esser et al. 2021)
    ratio = jnp.clip(ratio, 0, 1e4)
    return jax.lax.stop_gradient(ratio)
