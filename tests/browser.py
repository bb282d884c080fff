"""A headless Chromium, driven through the pipe of its DevTools protocol: no port, no driver, no library."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from select import select
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

VARIABLE: Final = "VSR_BENCH_BROWSER"
PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S: Final = 600.0
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip

# The browser reads its commands from descriptor 3 and answers on 4.
_LAUNCHER: Final = (
    "import fcntl, os, sys\n"
    "ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]\n"
    "[os.dup2(end, place) for end, place in zip(ends, (3, 4))]\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


def find() -> str | None:
    """Return the browser's program: what VSR_BENCH_BROWSER names, or one that is installed."""
    names = [os.environ[VARIABLE]] if os.environ.get(VARIABLE) else PROGRAMS
    return next((found for name in names if (found := shutil.which(name))), None)


class Browser:
    """One page in one browser. Raises RuntimeError where the browser ends or refuses, TimeoutError where it
    does not answer."""

    def __init__(self, program: str) -> None:
        self.events: list[dict[str, Any]] = []  # since the last `open`
        self._profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        launch = [sys.executable, "-c", _LAUNCHER, str(read), str(write), program]
        self._process = subprocess.Popen(
            [*launch, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (read, write):
            os.close(end)
        self._buffer, self._number, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, *, width: int, height: int = 800) -> None:
        """Show a file in a window of so many CSS pixels; returns when all of it is loaded."""
        # A window cannot be narrower than some 500 pixels; an emulated device can.
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def errors(self) -> list[str]:
        """Return what was logged to the console as an error, thrown or refused since `open`."""
        return [
            json.dumps(event["params"])
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
            or (event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")
            or (event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] == "error")
        ]

    def requests(self) -> list[str]:
        """Return the addresses asked for since `open`, those within the page itself left out."""
        asked = [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return the browser's answer to a command of the protocol."""
        self._number += 1
        command: Mapping[str, object] = {"id": self._number, "method": method, "params": parameters} | (
            {"sessionId": self._session} if self._session else {}
        )
        left = json.dumps(command).encode() + b"\0"
        while left:
            left = left[os.write(self._write, left) :]
        while (answer := self._receive()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        """Return the next message; keep it if it is an event."""
        until = monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            if not select([self._read], [], [], max(0.0, until - monotonic()))[0]:
                raise TimeoutError(f"no answer from the browser within {PATIENCE_S:g} s")
            if not (part := os.read(self._read, 1 << 20)):
                raise RuntimeError(f"the browser ended ({self._process.wait()})")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def close(self) -> None:
        self._session = ""
        with suppress(RuntimeError, TimeoutError, OSError):
            self.call("Browser.close")
        for end in (self._read, self._write):
            os.close(end)
        try:
            self._process.wait(600)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
