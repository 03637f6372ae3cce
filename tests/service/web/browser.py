"""Chromium without any library: DevTools messages over a pipe, enough to open pages, press keys and ask what is there."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
CODES = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """One tab. `scripts=False` is a browser that runs none."""

    def __init__(self, program: str, profile: Path, *, dark: bool = False, scripts: bool = True, width: int = 1400, height: int = 900):
        ours_in, their_out = os.pipe()
        their_in, ours_out = os.pipe()

        def pipes() -> None:
            os.dup2(their_in, 60)
            os.dup2(their_out, 61)
            os.dup2(60, 3)
            os.dup2(61, 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}"], preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip
        os.close(their_in)
        os.close(their_out)
        self._in, self._out, self._buffer, self._number = ours_in, ours_out, b"", 0
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.size(width, height)
        if dark:
            self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        if not scripts:
            self.call("Emulation.setScriptExecutionDisabled", value=True)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **({"sessionId": self._session} if self._session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                found: dict[str, Any] = answer["result"]
                return found
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has gone"
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found

    def _loaded(self) -> None:
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        self.events = [event for event in self.events if event.get("method") != "Page.loadEventFired"]
        time.sleep(0.1)

    def _forget_loads(self) -> None:
        self.events = [event for event in self.events if event.get("method") != "Page.loadEventFired"]

    def goes(self, url: str) -> None:
        self._forget_loads()
        self.call("Page.navigate", url=url)
        self._loaded()

    def asks(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def clicks(self, selector: str) -> None:
        """Click what leads to another page."""
        self._forget_loads()
        place = self.asks(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
        self._loaded()

    def presses(self, key: str, *, control: bool = False, leads_on: bool = False, repeat: bool = False) -> None:
        self._forget_loads()
        text = key if len(key) == 1 else "\r" if key == "Enter" else ""
        common = {"key": key, "windowsVirtualKeyCode": CODES.get(key, ord(key[0].upper())), "modifiers": 2 if control else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="" if control else text, autoRepeat=repeat, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)
        if leads_on:
            self._loaded()

    @property
    def complaints(self) -> list[str]:
        """What the browser held against the pages: scripts that broke, and breaches of the content policy."""
        found = [str(event["params"]) for event in self.events if event.get("method") == "Runtime.exceptionThrown"]
        entries = [event["params"]["entry"] for event in self.events if event.get("method") == "Log.entryAdded"]
        return found + [
            entry["text"] for entry in entries if entry["source"] in ("security", "javascript", "violation") or "Content Security" in entry["text"]
        ]
