"""Tiny encoder and decoder from scratch (needed once for `nano`; the published model
brings its own).

python -m train --config=autoencoder

Cost: 0.035 TFLOP a step, 0.7 PFLOP in all (LPIPS not counted); 10.6 MB of state.
"""

from configs import DataConfig, LossConfig, OptimizerConfig, RolloutConfig, RunConfig

run = RunConfig(
    objective="autoencode",
    trained=("vae/encoder/*", "vae/decoder/*"),
    steps=20_000,
    data=DataConfig(crop=32, batch_size=16),
    optimizer=OptimizerConfig(learning_rate=5e-4, warmup=200, decay="cosine"),
    loss=LossConfig(latent=0, pixel=1.0, perceptual=0.5, moments=0.1),
    # as the denoiser will disturb them, whose samples are never the encoder's latents;
    # and without any the decoder alone has to be a good regressor
    rollout=RolloutConfig(latent_noise=0.3, latent_drop=0.1),
)
