"""Errors of the interface: a status and one sentence."""


class Refusal(Exception):
    """A request that cannot be served. status: of HTTP; sentence: for the user."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def not_there(kind: str, name: str) -> Refusal:
    """The refusal of an id that stands for nothing."""
    return Refusal(404, f"There is no {kind} {name[:40]!r}: it may have been deleted.")
