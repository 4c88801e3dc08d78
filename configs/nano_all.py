"""Every stage of `nano` from scratch, each from the last one's weights, and a table of
their effects.

python -m train --config=nano_all --data.path data/train --out runs/nano

Cost: 5.3 PFLOP in all (LPIPS not counted); the parts are in the stages' files.
"""

from configs import autoencoder, decoder, distill, flow, guidance, joint, teacher

chain = {
    "autoencoder": autoencoder.run,
    "flow": flow.run,
    "teacher": teacher.run,
    "distill": distill.run,
    "decoder": decoder.run,
    "guidance": guidance.run,
    "joint": joint.run,
}
