"""Every stage of `nano` from scratch, each from the last one's weights, and a table of what each changed.

python -m train --config=nano_all --data.path data/train --out runs/nano
"""

chain = ("autoencoder", "flow", "teacher", "distill", "decoder", "guidance", "joint")
