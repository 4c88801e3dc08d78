"""Media in and out: everything about containers, codecs, colours and timestamps; no models, no jax."""

import os

# Encoders that print to the terminal by themselves; a user's own setting wins.
os.environ.setdefault("SVT_LOG", "1")
