"""The two ways a command can end badly: a ValueError (wrong use, exit 2) or a JobError
(exit 1).
"""


class JobError(Exception):
    """The request made sense but the work failed; the message is one line for the user."""
