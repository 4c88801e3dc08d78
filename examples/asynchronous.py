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


class Service:
    """A batch of ``places`` streams; `view` is one viewer's stream of upscaled frames."""

    def __init__(self, model: str, places: int) -> None:
        self._upscaler = Upscaler(model, streams=places)
        self._free = asyncio.Queue[int]()
        for place in range(places):
            self._free.put_nowait(place)
        self._waiting: dict[int, tuple[np.ndarray, asyncio.Future[np.ndarray]]] = {}
        self._news = asyncio.Event()

    async def view(self, frames: Iterable[np.ndarray]) -> AsyncIterator[np.ndarray]:
        place = await self._free.get()  # waits for a place if all are taken
        try:
            await asyncio.to_thread(self._upscaler.reset, place)
            for frame in frames:
                result = asyncio.get_running_loop().create_future()
                self._waiting[place] = (frame, result)
                self._news.set()
                yield await result
        finally:
            self._free.put_nowait(place)

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._waiting = self._waiting, {}
            frames = [
                batch[place][0] if place in batch else None
                for place in range(self._upscaler.num_streams)
            ]
            try:
                results = await asyncio.to_thread(self._upscaler.push_many, frames)
            except ValueError as error:  # a frame of the wrong size
                for _, result in batch.values():
                    result.set_exception(error)
                continue
            for place, (_, result) in batch.items():
                if not result.done():  # its viewer may have left
                    result.set_result(results[place])


async def watch(service: Service, name: str, path: str, count: int) -> None:
    with av.open(path) as video:
        frames = (frame.to_ndarray(format="rgb24") for frame in video.decode(video=0))
        sizes = [
            large.shape async for large in service.view(itertools.islice(frames, count))
        ]
        print(f"{name}: {len(sizes)} frames of {sizes[0][1]}x{sizes[0][0]}")


async def main(path: str, model: str = "nano") -> None:
    service = Service(model, places=2)
    running = asyncio.create_task(service.run())
    await asyncio.gather(
        *(
            watch(service, f"viewer {i}", path, count)
            for i, count in enumerate((2, 4, 3))
        )
    )
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
