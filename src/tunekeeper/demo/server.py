"""`tunekeeper up` on the demo's folder: started when nobody runs it, found again when a demo that was killed left it running."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

import httpx

from tunekeeper.core.errors import Busy, OutsideError
from tunekeeper.processes import ending, locks

READY_SECONDS = 60.0
"""Real seconds that a start may take."""


class Server:
    """The product's own process tree on one folder."""

    def __init__(self, folder: Path, root: Path) -> None:
        """`folder`: the project. `root`: its data directory."""
        self.folder, self.root = folder, root
        self.process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def ensure(self) -> str:
        """The gateway's address with /v1, once it answers. Raises OutsideError with the server's last line."""
        if self.process is None and self._running() and self._announced() is None:
            raise Busy(f"tunekeeper up runs on {self.folder} already", fix=f"tunekeeper down --dir {quote(str(self.folder))}")
        self.tend()
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            url = self._announced()
            if url is not None and _alive(url):
                self._port = urlsplit(url).port or 0
                return f"{url}/v1"
            if not self._running():
                raise OutsideError(
                    f"tunekeeper up ended: {self._last_line()}", fix=f"tunekeeper up --dir {quote(str(self.folder))}"
                )
            time.sleep(0.1)
        raise OutsideError(f"tunekeeper up was not ready within {READY_SECONDS:.0f} s: {self._last_line()}")

    def tend(self) -> None:
        """Start it when it is gone, on the address it had."""
        if not self._running():
            self._start()

    def stop(self) -> None:
        """End everything in order: the gateway drains first."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        ending.down(self.root)

    def _running(self) -> bool:
        if self.process is not None and self.process.poll() is None:
            return True
        return locks.held(self.root / "run" / "supervisor.lock")

    def _start(self) -> None:
        (self.root / "run").mkdir(parents=True, exist_ok=True)
        (self.root / "run" / "up.out").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tunekeeper", "up", "--dir", str(self.folder), "--port", str(self._port), "--json"]
        with open(self.root / "run" / "up.out", "wb") as out, open(self.root / "run" / "up.err", "ab") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)

    def _announced(self) -> str | None:
        try:
            lines = (self.root / "run" / "up.out").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return next((str(event["url"]) for event in events if event.get("event") == "ready"), None)

    def _last_line(self) -> str:
        path = self.root / "run" / "up.err"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return lines[-1] if lines else "it said nothing"


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
