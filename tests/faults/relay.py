"""A way between two processes that can be cut: a TCP relay."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from threading import Thread
from types import TracebackType
from typing import Self

BLOCK = 1 << 16  # bytes
REST = 0.02  # seconds between two looks whether a silent relay speaks again


class Way(Enum):
    """What becomes of what is sent."""

    OPEN = "open"
    REFUSED = "refused"  # connections end at once
    SILENT = "silent"  # connections stand, and nothing comes through


class Relay:
    """Hands bytes on between a port of its own and another one. Use as a context.

    Args:
        target: gives the port behind it, for each connection anew.
    """

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.way = Way.OPEN
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._over = asyncio.Event()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    def cut(self) -> None:
        """Ends all connections, in the middle of whatever they say."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass, sock=self._socket)
        await self._over.wait()
        self._abort()
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.way is Way.REFUSED:
                return
            with suppress(OSError, asyncio.CancelledError):  # nobody listens behind it, or all is over
                back, forth = await asyncio.open_connection("127.0.0.1", self._target())
                self._writers.add(forth)
                try:
                    await asyncio.gather(self._pump(reader, forth), self._pump(back, writer))
                finally:
                    self._writers.discard(forth)
                    forth.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while block := await source.read(BLOCK):
            while self.way is Way.SILENT:
                await asyncio.sleep(REST)
            sink.write(block)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
