"""Many viewers, one batch, asyncio: python asynchronous.py IN.mp4 [MODEL].

Viewers join and leave while the others go on. One task gathers whatever frames are
there and runs one step for all of them in a thread, so the event loop is never blocked.
"""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterable

import av
import numpy as np

from sdvsr_jax import Upscaler

Request = tuple[np.ndarray, asyncio.Future[np.ndarray]]
"""A frame, and where its result goes."""


class Service:
    """A batch of ``places`` streams; `view` is one viewer's upscaled stream."""

    def __init__(self, model: str, places: int) -> None:
        self._upscaler = Upscaler(model, streams=places)
        self._free = asyncio.Queue[int]()
        for place in range(places):
            self._free.put_nowait(place)
        self._requests: dict[int, Request] = {}
        self._news = asyncio.Event()

    async def view(self, frames: Iterable[np.ndarray]) -> AsyncIterator[np.ndarray]:
        # Waits for a place if all are taken.
        place = await self._free.get()
        try:
            await asyncio.to_thread(self._upscaler.reset, place)
            loop = asyncio.get_running_loop()
            for frame in frames:
                result = loop.create_future()
                self._requests[place] = (frame, result)
                self._news.set()
                yield await result
        finally:
            self._free.put_nowait(place)

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            # Frames that come while the step runs wait for the next one.
            requests = self._requests
            self._requests = {}
            await self._serve(requests)

    async def _serve(self, requests: dict[int, Request]) -> None:
        frames: list[np.ndarray | None] = [None] * self._upscaler.num_streams
        for place, (frame, _) in requests.items():
            frames[place] = frame
        try:
            results = await asyncio.to_thread(self._upscaler.push_many, frames)
        # A frame of the wrong size: all viewers of this batch are told.
        except ValueError as error:
            for _, result in requests.values():
                result.set_exception(error)
            return
        for place, (_, result) in requests.items():
            # Its viewer may have left in the meantime.
            if not result.done():
                result.set_result(results[place])


async def watch(service: Service, name: str, path: str, count: int) -> None:
    with av.open(path) as video:
        pictures = itertools.islice(video.decode(video=0), count)
        frames = (picture.to_ndarray(format="rgb24") for picture in pictures)
        sizes = []
        async for large in service.view(frames):
            height, width, _ = large.shape
            sizes.append(f"{width}x{height}")
    size, *_ = sizes
    print(f"{name}: {len(sizes)} frames of {size}")


async def main(path: str, model: str = "nano") -> None:
    service = Service(model, places=2)
    running = asyncio.create_task(service.run())
    viewers = []
    # Three viewers and two places: the last one waits until one leaves.
    for number, count in enumerate((2, 4, 3)):
        viewer = watch(service, f"viewer {number}", path, count)
        viewers.append(viewer)
    await asyncio.gather(*viewers)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
