"""`python -m tests.journeys.loader FOLDER GOOD`: every way in that a model file has, tried on each entry of FOLDER, audited.

GOOD is a checkpoint folder; using it first brings in all that is imported on first use. Writes one line of JSON a try.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.journeys.peak import from_now_mb, peak_mb
from tunekeeper.core.errors import TunekeeperError
from tunekeeper.deployment.adapter import open_adapter
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.inspect import inspect
from tunekeeper.training.base import read_base

DANGEROUS = ("pickle.find_class", "exec", "compile", "import", "marshal.loads", "os.mkdir", "os.system", "os.exec")
STARTED = ("ctypes.dlopen", "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "socket.connect", "socket.bind")


def main(folder: Path, good: Path) -> None:
    """Try everything; a file that makes us take four gigabytes ends this process, not the machine."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    base, events = open_checkpoint(good), []
    inspect(good)
    export_folder(good, None, "f16", folder.parent / "good.gguf")
    inspect(folder.parent / "good.gguf")
    ways: dict[str, Callable[[Path], Any]] = {
        "inspect": inspect,
        "checkpoint": open_checkpoint,
        "adapter": lambda path: open_adapter(path, base),
        "export": lambda path: export_folder(path, None, "Q8_0", folder.parent / "out.gguf"),
        "train": lambda path: read_base(path),
    }
    for way in ways.values():  # what an error imports is imported now
        tried(way, folder.parent / "nothing")
    sys.addaudithook(lambda event, arguments: events.append(f"{event} {arguments[:1]}"))
    for path in sorted(folder.iterdir()):
        for name, way in ways.items():
            if path.is_dir() != (name in ("checkpoint", "adapter", "train")) and name not in ("inspect", "export"):
                continue
            events.clear()
            before = from_now_mb()
            began = time.monotonic()
            why = tried(way, path)
            line = {"file": path.name, "way": name, "why": why, "seconds": time.monotonic() - began}
            line["grown_mb"] = peak_mb() - before
            events_seen = [each for each in events if each.startswith((*DANGEROUS, *STARTED))]
            sys.stdout.write(json.dumps({**line, "events": events_seen, "peak_mb": peak_mb()}) + "\n")


def tried(way: Callable[[Path], Any], path: Path) -> str | None:
    """Why it was refused, in our own words; None when it was let in. Any other error comes through."""
    try:
        way(path)
    except TunekeeperError as error:
        return str(error)
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
