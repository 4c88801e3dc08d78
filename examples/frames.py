"""Frame in, frame out: python frames.py IN.mp4 OUT.mp4 [MODEL].

`python -m infer` does more: sound, colours, timestamps, resuming.
"""

import sys

import av

from sdvsr_jax import Upscaler


def main(source: str, target: str, model: str = "nano") -> None:
    with (
        av.open(source) as video,
        av.open(target, "w") as output,
        Upscaler(model) as upscaler,
    ):
        small = video.streams.video[0]
        stream = output.add_stream("libx264", rate=small.average_rate)
        stream.width = upscaler.config.scale * small.width
        stream.height = upscaler.config.scale * small.height
        pictures = video.decode(small)
        frames = (picture.to_ndarray(format="rgb24") for picture in pictures)
        # Or one at a time: large = upscaler.push(frame)
        for large in upscaler.upscale(frames):
            picture = av.VideoFrame.from_ndarray(large)
            packets = stream.encode(picture)
            output.mux(packets)
        # The frames that the encoder has held back, to look ahead.
        rest = stream.encode(None)
        output.mux(rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
