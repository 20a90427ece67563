"""Serves the page: files of this package, and JSON of what is on the board. Nothing that is asked changes anything.

What strangers wrote goes out as JSON only, and the page's script sets it as text. The headers forbid the browser
everything else: scripts, styles, pictures and frames of other places, and whatever stands in the page itself.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from offchain.errors import BadInput
from offchain.page.watcher import Watcher
from offchain.store.addresses import is_loopback

SCRIPTS: Final = ("page.js", "views.js", "tables.js", "chart.js", "dom.js")
STATIC: Final = {"": "index.html", **{name: name for name in ("page.css", "icon.svg", *SCRIPTS)}}
KINDS: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
WAIT: Final = 20.0  # seconds until one who waits for news is told that there are none
WAITING: Final = 64  # who may wait at a time; the others ask again
LARGE: Final = 4096  # bytes from which an answer is compressed

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """Serves the page while the context is open, from a thread of its own.

    Args:
        host, port: where to listen; port 0 picks a free one.

    Raises BadInput where it cannot listen there.
    """

    def __init__(self, watcher: Watcher, host: str = "127.0.0.1", port: int = 0) -> None:
        self._watcher, self._host, self._port = watcher, host, port
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._waiting = 0
        self._files = {name: files("offchain.page").joinpath("static", file).read_bytes()
                       for name, file in STATIC.items()}  # fmt: skip
        self._runner: web.AppRunner | None = None
        self._thread = Thread(target=self._loop.run_forever, name="page", daemon=True)
        watcher.board.changed = self._changed

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except (OSError, OverflowError) as error:
            self._loop.call_soon_threadsafe(self._loop.stop)
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            raise BadInput(f"cannot serve the page at {self._host}:{self._port}: {why}; name another port") from error
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.stop()
        if self._runner is not None:
            self._news.set()
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _listen(self) -> None:
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/data/board", self._board)
        app.router.add_get(r"/data/{what:task|dispute|losses}/{id:\d{1,18}}", self._detail)
        app.router.add_get(r"/{name:[a-z.]*}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    def _changed(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A page of this machine answers to its names only: no other site's name may be made to lead here."""
        if is_loopback(self._host) and not is_loopback(request.url.host):
            return web.Response(status=403, text="this page is served to this machine", headers=HEADERS)
        try:
            return await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._files:
            raise web.HTTPNotFound(text="there is no such page")
        kind = KINDS[STATIC[name].rpartition(".")[2]]
        return _packed(request, self._files[name], kind)

    async def _board(self, request: web.Request) -> web.Response:
        """What has changed since a version; waits for news where there are none."""
        query = request.query
        try:
            version = int(query.get("version", "-1"))
        except ValueError:
            raise web.HTTPBadRequest(text="version: not a number") from None
        board = self._watcher.board
        if board.version <= version and self._waiting < WAITING:
            self._waiting += 1
            try:
                news = self._news
                if board.version <= version:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), WAIT)
            finally:
                self._waiting -= 1
        return _json(request, board.since(query.get("epoch", ""), version))

    async def _detail(self, request: web.Request) -> web.Response:
        find = {"task": self._watcher.task, "dispute": self._watcher.dispute, "losses": self._watcher.losses}
        asked = find[request.match_info["what"]]
        try:
            return _json(request, await asyncio.to_thread(asked, int(request.match_info["id"])))
        except BadInput as error:
            raise web.HTTPNotFound(text=str(error)) from None


def _json(request: web.Request, value: Any) -> web.Response:
    body = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    return _packed(request, body, "application/json")


def _packed(request: web.Request, body: bytes, kind: str) -> web.Response:
    headers = dict(HEADERS)
    if len(body) > LARGE and "gzip" in request.headers.get("Accept-Encoding", ""):
        body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
    return web.Response(body=body, headers=headers, content_type=kind, charset="utf-8")
