"""Training: data (`train.prepare`, `train.pipeline`), losses, stages and the loop
(`python -m train`).
"""
