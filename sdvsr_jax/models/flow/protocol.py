"""Optical flow as the step asks for it; `RAFT` and `FlowNet` are two networks."""

from typing import Protocol, runtime_checkable

from sdvsr_jax.types import Array, Float, Flow, LRFrame, PyTree, SRFrame

Image = Float[Array, "b _ _ 3"]


@runtime_checkable
class FlowEstimator(Protocol):
    """A network that compares two frames; the features of a frame are computed once
    and kept for the next one.
    """

    def choose_frame(self, lr: LRFrame, up: SRFrame) -> Image:
        """Returns the LR frame or its bicubic enlargement, whichever is compared."""
        ...

    def features(self, image: Image) -> PyTree:
        """Returns the part of a chosen frame that is kept for the next."""
        ...

    def __call__(self, image: Image, features: PyTree, prev_features: PyTree) -> Flow:
        """Returns the flow from a chosen frame to the previous one, in its pixels."""
        ...
