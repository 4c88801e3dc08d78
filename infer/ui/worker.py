"""Processes that answer the server's messages through their standard input and output.

A message is four bytes of length, one of kind, and the content. The answer E is a
sentence about an error.
"""

import asyncio
import os
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from typing import BinaryIO

from infer.ui.refusal import Refusal


def pack(kind: bytes, content: bytes) -> bytes:
    """Returns the bytes of a message."""
    return struct.pack("<I", len(content)) + kind + content


def messages(source: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content of each message until the other side closes."""
    while len(head := source.read(5)) == 5:
        (length,) = struct.unpack("<I", head[:4])
        yield head[4:], source.read(length)


def serve(
    source: BinaryIO,
    target: BinaryIO,
    answer: Callable[[bytes, bytes], tuple[bytes, bytes]],
) -> None:
    """Answer messages until the server closes the pipe. answer: from kind and content
    to kind and content; its exceptions become sentences.
    """
    for kind, content in messages(source):
        # Whatever is wrong with one message, the next one may be right.
        try:
            reply = pack(*answer(kind, content))
        except Exception as error:
            reply = pack(b"E", str(error).encode()[:300])
        try:
            target.write(reply)
            target.flush()
        except BrokenPipeError:
            # The server was killed: what is left in the buffer goes nowhere.
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), target.fileno())
            return


class Worker:
    """The server's end. The process starts with the first question and stays, so that
    its programs are there for the next one.
    """

    def __init__(self, module: str, **environment: str) -> None:
        self._module = module
        self._environment = environment
        self._process: Process | None = None
        self._latest: Process | None = None

    async def ask(self, kind: bytes, content: bytes) -> bytes:
        """Returns the answer to a message; a Refusal if it is an error."""
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(pack(kind, content))
            await process.stdin.drain()
            head = await process.stdout.readexactly(5)
            (length,) = struct.unpack("<I", head[:4])
            answer = await process.stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._process = None
            raise Refusal(500, "The model's process ended: start again.") from None
        except asyncio.CancelledError:
            # half of an answer would be taken for the next one's
            self.end()
            raise
        if head[4:] == b"E":
            raise Refusal(400, answer.decode("utf-8", "replace"))
        return answer

    def end(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._process = None

    async def close(self) -> None:
        """End the process and wait for its end: its pipes must be closed before the
        event loop is. Nobody may be asking.
        """
        self.end()
        if self._latest is not None:
            await self._latest.communicate()

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            command = [sys.executable, "-m", self._module]
            environment = {**os.environ, **self._environment}
            # of its own session: Ctrl-C is for the server, which then ends it
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                env=environment,
                start_new_session=True,
            )
            self._latest = self._process
        return self._process
