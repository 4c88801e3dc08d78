"""Streaming 4x video super-resolution with a causal diffusion model (Stream-DiffVSR, arXiv 2512.23709)."""
