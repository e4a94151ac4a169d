"""A real browser for the tests, driven over a pipe: Chromium's own protocol, and nothing to install for it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SECONDS = 120
_CODES = {
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Backspace": 8,
    "Enter": 13,
    "Escape": 27,
    "x": 88,
}


class Browser:
    """One page of a headless Chromium inside `with`. `complaints` are what it wrote to its console."""

    def __init__(self, program: str, profile: Path) -> None:
        self._program, self._profile = program, profile
        self.complaints: list[str] = []
        self._number, self._rest, self._session = 0, b"", ""

    def __enter__(self) -> Self:
        told, self._write = os.pipe()
        self._read, telling = os.pipe()

        def place() -> (
            None
        ):  # the protocol reads from 3 and writes to 4, which the two ends may be in the way of
            spare = [os.dup(told), os.dup(telling)]
            for number, end in zip((3, 4), spare, strict=True):
                os.dup2(end, number)

        self._process = subprocess.Popen(
            [self._program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             f"--user-data-dir={self._profile}", "about:blank"],
            preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(told)
        os.close(telling)
        page = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)
        os.close(self._write)
        os.close(self._read)

    def send(self, method: str, **given: Any) -> Any:
        """One call of the protocol, and its result."""
        self._number += 1
        call = {"id": self._number, "method": method, "params": given}
        call |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(call).encode() + b"\0")
        while (message := self._next()).get("id") != self._number:
            if message.get("method") in (
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Runtime.consoleAPICalled",
            ):
                self.complaints.append(json.dumps(message["params"]))
        assert "error" not in message, message
        return message["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._read, 1 << 16)
            assert piece, "the browser is gone"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def open(self, address: str) -> None:
        """Go to an address."""
        assert "errorText" not in self.send("Page.navigate", url=address)

    def size(self, width: int, height: int) -> None:
        """Make the window so large, in pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives; None where the page cannot answer just now."""
        return self.send("Runtime.evaluate", expression=expression)["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until the expression is true."""
        end = time.monotonic() + SECONDS
        while self.value(expression) is not True:
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"text": {"Enter": "\r"}.get(key, key)} if len(key) == 1 or key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=_CODES[key], **text)
