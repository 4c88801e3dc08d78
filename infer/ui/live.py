"""Live sessions: frames of a camera or a screen in, sharp frames out, over a WebSocket.

The page sends {"model", "width", "height"}, is told {"ready": true, "width", "height"},
and then sends binary messages: eight bytes of its own clock and a JPEG, WebP or PNG. It
gets back the same eight bytes, four of float (milliseconds of the model), four of
integer (frames dropped so far) and a JPEG. A frame that comes while one is computed
replaces the one that waits, so the delay cannot grow.
"""

import asyncio
import json
import struct
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from infer.ui.refusal import Refusal
from infer.ui.server import Server
from infer.ui.worker import Worker

LARGEST = 4 * 2**20
"""Bytes of a compressed frame."""
SIDE = 1920


class LiveStart(BaseModel):
    """The first message of a live session."""

    model: str = Field(max_length=200)
    width: Annotated[int, Field(ge=16, le=SIDE)]
    height: Annotated[int, Field(ge=16, le=SIDE)]


class Latest:
    """The newest frame that nobody has taken yet."""

    def __init__(self) -> None:
        self.dropped = 0
        self.is_closed = False
        self._frame: bytes | None = None
        self._news = asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Offer a frame; one that still waits is dropped."""
        self.dropped += self._frame is not None
        self._frame = frame
        self._news.set()

    def close(self) -> None:
        """No frame will come."""
        self.is_closed = True
        self._news.set()

    async def take(self) -> bytes | None:
        """Returns the newest frame as soon as there is one; None at the end."""
        await self._news.wait()
        self._news.clear()
        frame = self._frame
        self._frame = None
        return None if self.is_closed else frame


def live_routes(server: Server) -> APIRouter:
    """Returns the route of live sessions."""
    routes = APIRouter()
    server.live = worker = Worker("infer.ui.live_worker")
    is_busy = asyncio.Lock()

    @routes.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        if is_busy.locked():
            await _say(socket, "Another live session is open on this server.")
            return
        async with is_busy:
            with server.metrics.live_sessions.track_inprogress():
                await _serve(server, worker, socket)

    return routes


async def _serve(server: Server, worker: Worker, socket: WebSocket) -> None:
    try:
        await _run(server, worker, socket)
    except Refusal as refusal:
        await _say(socket, refusal.sentence)
    except (WebSocketDisconnect, asyncio.CancelledError):
        # cancelled: the server ends, which is no mistake to be printed
        return


async def _run(server: Server, worker: Worker, socket: WebSocket) -> None:
    try:
        start = LiveStart.model_validate_json(await socket.receive_text())
    except (ValidationError, KeyError):
        sentence = "The first message must name model, width and height (16 to 1920)."
        raise Refusal(400, sentence) from None
    if start.model not in server.models:
        raise Refusal(400, f"There is no model {start.model!r} on this server.")
    wish = {**start.model_dump(), "model": server.models[start.model]}
    question = json.dumps(wish)
    answer = await worker.ask(b"S", question.encode())
    size = json.loads(answer)
    await socket.send_json({"ready": True, **size})
    latest = Latest()
    reader = asyncio.create_task(_receive(socket, latest))
    try:
        while (message := await latest.take()) is not None:
            clock = message[:8]
            result = await worker.ask(b"F", message[8:])
            milliseconds = result[:4]
            picture = result[4:]
            dropped = struct.pack("<I", latest.dropped)
            await socket.send_bytes(clock + milliseconds + dropped + picture)
            server.metrics.live_frames.inc()
    finally:
        reader.cancel()


async def _receive(socket: WebSocket, latest: Latest) -> None:
    try:
        while True:
            message = await socket.receive_bytes()
            if 8 < len(message) <= LARGEST:
                latest.put(message)
    except (WebSocketDisconnect, KeyError, RuntimeError):
        latest.close()


async def _say(socket: WebSocket, sentence: str) -> None:
    """End a session with a sentence."""
    try:
        await socket.send_json({"error": sentence})
        await socket.close()
    except (WebSocketDisconnect, RuntimeError):
        return
