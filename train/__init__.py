"""Training: data (`train.prepare`, `train.data.pipeline`), losses, stages and the loop
(`python -m train`).
"""
