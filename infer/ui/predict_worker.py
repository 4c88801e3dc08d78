"""Predictions of `sdvsr plan` for the page, in a process of its own, because they load
jax and touch the device: `infer.ui.predict_worker`.

Message in: P (JSON with words of the command line, output). Out: R (JSON).
"""

import json
import sys

from infer.command.plan import predict
from infer.jobs.plan import make_plan
from infer.model.engines import Engines
from infer.options import parse
from infer.ui.worker import serve


class Prophet:
    """Answers questions; the latest model is kept."""

    def __init__(self) -> None:
        self._engines = Engines()

    def answer(self, kind: bytes, content: bytes) -> tuple[bytes, bytes]:
        """Returns the command's own prediction as JSON."""
        wish = json.loads(content)
        options = parse(wish["words"])
        plan = make_plan(options, options.video[0], wish["output"])
        prediction = predict(options, plan, self._engines)
        text = json.dumps(prediction._asdict())
        return b"R", text.encode()


if __name__ == "__main__":
    # what libraries print must not come between the messages
    replies = sys.stdout.buffer
    sys.stdout = sys.stderr
    serve(sys.stdin.buffer, replies, Prophet().answer)
