"""What a file, a stream or a chapter says in words: what of it is the author's, and
what of that was lost.
"""

import re
from collections.abc import Mapping

MUXERS_OWN = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "software",
    "vendor_id",
    "duration",
    "bps",
    "number_of_frames",
    "number_of_bytes",
}
"""What muxers write about themselves and about the streams they see."""
NOTHING_SAID = {
    ("language", "und"),
    ("handler_name", "VideoHandler"),
    ("handler_name", "SoundHandler"),
    ("handler_name", "SubtitleHandler"),
}
NEARLY = 1e-4
"""Degrees of latitude that containers round to, 11 m."""


def said(
    metadata: Mapping[str, str], above: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The entries that were written by somebody and not by a muxer.

    above: what the file says of all its streams, and a stream need not repeat.
    """
    above, found = above or {}, {}
    for key, value in metadata.items():
        base = key.lower().partition("-")[0]
        repeated = (
            base != key.lower() and metadata.get(base) == value
        )  # FFmpeg tells 'title-eng' as 'title', too
        told = base == "creation_time" and above.get("creation_time") == value
        own = base in MUXERS_OWN or base.startswith("_statistics")
        if not (own or repeated or told or (base, value) in NOTHING_SAID):
            found["title" if key == "name" else key] = (
                value  # the name of an mp4 track is written as a title
            )
    return found


def lost(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Keys of ``expected`` that are missing in ``found`` or have other values there.

    Keys are compared as FFmpeg does, without regard to case, and places on Earth as
    numbers.
    """
    there = {_plain(key): value for key, value in said(found).items()}
    return sorted(
        key
        for key, value in expected.items()
        if not _same(_plain(key), value, there.get(_plain(key)))
    )


def _plain(key: str) -> str:
    return key.lower().replace(" ", "_")


def _same(key: str, wanted: str, found: str | None) -> bool:
    if wanted == found or found is None or not key.startswith("location"):
        return wanted == found
    places = [
        [float(n) for n in re.findall(r"[+-]\d+(?:\.\d*)?", text)]
        for text in (wanted, found)
    ]
    return len(places[0]) == len(places[1]) and all(
        abs(a - b) <= NEARLY for a, b in zip(*places, strict=True)
    )
