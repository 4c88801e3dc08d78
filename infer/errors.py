"""The error of a command that made sense and failed; wrong use is a ValueError."""

import errno

# Numbers of system errors: no room on the disk, in the user's share of it, or in one
# file.
NO_ROOM = errno.ENOSPC, errno.EDQUOT, errno.EFBIG


class JobError(Exception):
    """The work failed (exit status 1); the message is one line for the user."""
