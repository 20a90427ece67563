"""A headless Chromium that a test drives: through its own protocol, over the WebSocket that it opens."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING: Final = "there is no Chromium here (Debian: apt-get install chromium)"
FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--remote-debugging-port=0", "--force-prefers-reduced-motion"),
)


@dataclass
class Browser:
    """One tab. Times out with an AssertionError that says what it waited for."""

    port: int
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    errors: list[str] = field(default_factory=list)  # of its console, and exceptions that nobody caught
    _number: int = 0

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    async def connect(self) -> None:
        self._session = aiohttp.ClientSession()
        async with self._session.put(f"http://127.0.0.1:{self.port}/json/new?about:blank") as answer:
            place = (await answer.json())["webSocketDebuggerUrl"]
        self._socket = await self._session.ws_connect(place, max_msg_size=1 << 28)
        for domain in ("Page", "Runtime", "Log"):
            await self._ask(f"{domain}.enable")

    async def close(self) -> None:
        await self._socket.close()
        await self._session.close()

    async def _ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            said = await self._socket.receive_json()
            self._hear(said)
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]

    def _hear(self, said: dict[str, Any]) -> None:
        what, told = said.get("method"), said.get("params", {})
        if what == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif what == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif what == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(str(told["args"]))

    def ask(self, method: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.run(self._ask(method, **parameters))

    def goto(self, url: str) -> None:
        self.ask("Page.navigate", url=url)

    def open(self, url: str) -> None:
        """Goes there from an empty page; what the console said before is forgotten."""
        self.goto("about:blank")
        self.errors.clear()
        self.goto(url)

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 20) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(f"(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < end, f"not true: {expression}\n{self.js('document.body.innerText')[:3000]}"
            time.sleep(0.02)

    def look(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """The size of the screen, and what its owner prefers."""
        scale = 2 if phone else 1
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile, until the block ends."""
    assert CHROMIUM, MISSING
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            browser = Browser(_port(Path(profile) / "DevToolsActivePort", process))
            browser.run(browser.connect())
            yield browser
            browser.run(browser.close())
            browser.loop.close()
        finally:
            process.terminate()
            process.wait(10)


def _port(file: Path, process: subprocess.Popen[bytes], seconds: float = 60) -> int:
    """The port that it has chosen, which it writes once it is ready."""
    end = time.monotonic() + seconds
    while not file.exists() or not file.read_text().strip():
        assert process.poll() is None and time.monotonic() < end, "Chromium did not start"
        time.sleep(0.05)
    return int(file.read_text().split()[0])
