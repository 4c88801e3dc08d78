"""Settings as each encoder wants them: quality, profile, HDR and huge frames."""

from fractions import Fraction

import pytest
from clips import spec_for

from infer.sinks.encoder_setup import encoder_options
from infer.sinks.encoders import ENCODERS
from infer.sources.info import HDRMetadata

HDR = HDRMetadata(
    # red, green and blue of BT.2020, and its white
    primaries=(
        (Fraction("0.708"), Fraction("0.292")),
        (Fraction("0.170"), Fraction("0.797")),
        (Fraction("0.131"), Fraction("0.046")),
    ),
    white=(Fraction("0.3127"), Fraction("0.3290")),
    luminance=(Fraction("0.005"), Fraction(1000)),
    max_cll=1000,
    max_fall=400,
)
# Encoders count chromaticity in 1/50000 and luminance in 1/10000 of a candela.
POINTS = "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)"
LUMINANCE = "L(10000000,50)"


def options_of(name: str, **changes: object) -> dict[str, str]:
    size = changes.pop("size", (64, 48))
    spec = spec_for(size, encoder=name, **changes)  # type: ignore[arg-type]
    return encoder_options(ENCODERS[name], spec)


@pytest.mark.parametrize("name", [n for n, e in ENCODERS.items() if e.quality])
def test_quality_is_the_users_or_the_encoders_own(name: str) -> None:
    encoder = ENCODERS[name]
    assert options_of(name)[encoder.quality] == str(encoder.crf)
    # zero is a quality, and not the absence of one
    assert options_of(name, crf=0)[encoder.quality] == "0"


def test_a_preset_of_the_user_comes_first() -> None:
    assert options_of("libx265", preset="slow")["preset"] == "slow"
    assert options_of("libx265", preset=None)["preset"] == "medium"


@pytest.mark.parametrize(
    ("pixel_format", "profile"), [("yuv422p10le", "hq"), ("yuva444p10le", "4444")]
)
def test_prores_has_a_profile_for_its_chroma(pixel_format: str, profile: str) -> None:
    options = options_of("prores_ks", pixel_format=pixel_format)
    assert options["profile"] == profile


def test_hdr_is_said_in_the_language_of_each_encoder() -> None:
    x264 = options_of("libx264", hdr=HDR)["x264-params"]
    assert f"mastering-display={POINTS}{LUMINANCE}" in x264
    assert "cll=1000,400" in x264.split(":")
    x265 = options_of("libx265", hdr=HDR)["x265-params"]
    assert f"master-display={POINTS}{LUMINANCE}" in x265
    assert "max-cll=1000,400" in x265.split(":")
    # SVT-AV1 takes the numbers themselves
    av1 = options_of("libsvtav1", hdr=HDR)["svtav1-params"]
    display, light = av1.split(":")
    assert display.startswith("mastering-display=G(0.17000,0.79700)B(0.13100,0.04600)")
    assert display.endswith("L(1000.0000,0.0050)")
    assert light == "content-light=1000,400"


def test_half_of_a_mastering_display_is_not_said() -> None:
    """A display without its white would be another one."""
    incomplete = HDRMetadata(primaries=HDR.primaries, luminance=HDR.luminance)
    assert "x264-params" not in options_of("libx264", hdr=incomplete)


@pytest.mark.parametrize("name", ["libx264", "libx265"])
def test_huge_frames_get_lean_settings(name: str) -> None:
    encoder = ENCODERS[name]
    # Frames are huge from 4096x2304 on.
    huge = options_of(name, size=(16384, 16384))
    assert encoder.lean in huge[encoder.params]
    small = options_of(name)
    assert encoder.lean not in small.get(encoder.params, "")
