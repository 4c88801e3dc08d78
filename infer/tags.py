"""Words in files, streams and chapters: those of the author, and those that another
file lacks.
"""

import re
from collections.abc import Mapping

# What muxers write about themselves and about the streams they see.
MUXER_TAGS = {
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
    "operational_pattern_ul",
}
# Keys whose values name one particular file; in another file they would be lies.
IDENTIFIER = re.compile(r"(.*[_. ])?(uid|umid|uuid)|.*content[._]id(entifier)?")
# What Windows Media says of its own classes and software.
WINDOWS_TAGS = {
    "wm/mediaclassprimaryid",
    "wm/mediaclasssecondaryid",
    "wmfsdkversion",
    "wmfsdkneeded",
    "isvbr",
}
# Entries that stand for nothing having been said.
EMPTY_TAGS = {
    ("language", "und"),
    ("handler_name", "VideoHandler"),
    ("handler_name", "SoundHandler"),
    ("handler_name", "SubtitleHandler"),
}
# Degrees of latitude that containers round to, 11 m.
NEARLY = 1e-4
NUMBER = re.compile(r"[+-]\d+(?:\.\d*)?")


def authored_tags(
    metadata: Mapping[str, str], file_tags: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The entries that were written by somebody and not by a muxer.

    file_tags: those of the whole file, which a stream need not repeat.
    """
    creation = (file_tags or {}).get("creation_time")
    tags = {}
    for key, value in metadata.items():
        name = key.lower()
        base, _, _ = name.partition("-")
        # FFmpeg tells 'title-eng' as 'title', too.
        is_translation = base != name and metadata.get(base) == value
        is_repeated = base == "creation_time" and creation == value
        if is_translation or is_repeated or _is_of_muxer(base, value):
            continue
        # The name of an mp4 track is written as a title.
        tags["title" if key == "name" else key] = value
    return tags


def _is_of_muxer(base: str, value: str) -> bool:
    if base.startswith("_statistics") or (base, value) in EMPTY_TAGS:
        return True
    if IDENTIFIER.fullmatch(base):
        return True
    return base in MUXER_TAGS or base in WINDOWS_TAGS


def missing_tags(expected: Mapping[str, str], tags: Mapping[str, str]) -> list[str]:
    """Keys of ``expected`` that are not in ``tags`` or have other values there.

    Keys are compared as FFmpeg does, without regard to case, and places on Earth as
    numbers.
    """
    authored = authored_tags(tags)
    others = {_plain(key): value for key, value in authored.items()}
    keys = []
    for key, value in expected.items():
        name = _plain(key)
        if not _is_same(name, value, others.get(name)):
            keys.append(key)
    return sorted(keys)


def _plain(key: str) -> str:
    return key.lower().replace(" ", "_")


def _is_same(key: str, expected: str, value: str | None) -> bool:
    if expected == value:
        return True
    if value is None or not key.startswith("location"):
        return False
    place = _numbers(expected)
    other = _numbers(value)
    if len(place) != len(other):
        return False
    pairs = zip(place, other, strict=True)
    return all(abs(number - another) <= NEARLY for number, another in pairs)


def _numbers(place: str) -> list[float]:
    """Latitude, longitude and perhaps height, as ISO 6709 strings them together."""
    return [float(number) for number in NUMBER.findall(place)]
