"""Sound that no container holds as it is: encoded anew, PCM without loss."""

from collections.abc import Iterator

from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import InvalidDataError
from av.packet import Packet
from av.stream import Stream

AAC = "aac"
# Encoders that lose no bit of PCM, by container; the first that is wide enough.
LOSSLESS = {
    # Few players know PCM in mp4.
    "mp4": ("flac", "alac"),
    "mov": ("pcm_s16le", "pcm_s24le", "pcm_s32le"),
    "matroska": ("pcm_s16le", "pcm_s24le", "pcm_s32le", "flac"),
}
SAMPLE_BITS = {"u8": 8, "s16": 16, "s32": 32}
ENCODER_BITS = {"pcm_s16le": 16, "pcm_s24le": 24, "pcm_s32le": 32}
# Of DVD and Blu-ray sound that is decoded into 32 bits: the lowest 8 are empty.
DEEP_PCM_BITS = 24
AAC_RATES = {
    *(96000, 88200, 64000, 48000, 44100, 32000),
    *(24000, 22050, 16000, 12000, 11025, 8000),
}
FALLBACK_RATE = 48000
# Where the channels of so many stand, if a source does not say it.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}


def is_pcm(codec: str) -> bool:
    """Whether a codec is samples as they are, in whatever order and packing."""
    return codec.startswith("pcm_")


class SoundEncoder:
    """Decodes packets of a stream and encodes them into a track of ``output``.

    Damaged packets are skipped and counted in ``bad_packets``.
    ValueError if the encoder would lose bits of PCM, or cannot take such sound.
    """

    def __init__(self, output: OutputContainer, source: Stream, encoder: str) -> None:
        assert isinstance(source, AudioStream)
        decoder = source.codec_context
        _require_bits(decoder, encoder)
        layout = LAYOUTS.get(decoder.channels)
        if decoder.layout.name.endswith("channels") and layout is not None:
            # No encoder takes channels that stand nowhere.
            decoder.layout = layout
        rate = decoder.sample_rate
        if encoder == AAC and rate not in AAC_RATES:
            rate = FALLBACK_RATE
        track = output.add_stream(encoder, rate=rate)
        assert isinstance(track, AudioStream)
        track.codec_context.layout = decoder.layout
        if encoder == "flac":
            is_deep = SAMPLE_BITS.get(_format_of(decoder), 32) > 16
            track.codec_context.format = "s32" if is_deep else "s16"
        self._source = source
        self.track = track
        self.bad_packets = 0

    def encode(self, packet: Packet) -> list[Packet]:
        """Encoded packets that are ready, on the clock of ``packet``."""
        ready = []
        for frame in self._decode(packet):
            ready += self.track.encode(frame)
        return ready

    def finish(self) -> list[Packet]:
        """The packets that were held back."""
        ready = []
        for frame in self._decode(None):
            ready += self.track.encode(frame)
        return ready + self.track.encode(None)

    def _decode(self, packet: Packet | None) -> Iterator[AudioFrame]:
        try:
            yield from self._source.codec_context.decode(packet)
        except InvalidDataError:
            self.bad_packets += 1


def _require_bits(decoder: AudioCodecContext, encoder: str) -> None:
    """Raises ValueError if the encoder is narrower than the samples of PCM."""
    if encoder == AAC:
        return
    bits = SAMPLE_BITS.get(_format_of(decoder))
    if bits is None:
        raise ValueError(f"{encoder} holds no {_format_of(decoder)} samples")
    if encoder not in ENCODER_BITS:
        return
    needed = min(bits, DEEP_PCM_BITS) if _is_of_disc(decoder.name) else bits
    if ENCODER_BITS[encoder] < needed:
        raise ValueError(f"{encoder} has fewer than {needed} bits")


def _is_of_disc(codec: str) -> bool:
    return codec in ("pcm_dvd", "pcm_bluray")


def _format_of(decoder: AudioCodecContext) -> str:
    return decoder.format.packed.name if decoder.format else ""
