"""A server for the length of a `with` block: parity, smoke tests and exams without `up`. It never takes traffic."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tunekeeper.core.errors import ArtifactError, ConfigError, MissingExtra, UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines.child import LOCAL
from tunekeeper.engines.engine import engine_of, healthy, key_of

ABSENT = re.compile(r"needs package (\w+), which is not installed")
QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""Without these, OpenMP threads spin on a busy machine and slow everything twentyfold."""
START, READ = 60.0, 50e6
"""Seconds that a server may take to start, and bytes of its files that it reads in each further one."""
KILLED = -9
"""How a process ends that the system takes for want of memory."""


@contextlib.contextmanager
def serve_temporarily(slot: Slot, root: Path, *, extra: tuple[str, ...] = (), timeout: float | None = None) -> Iterator[str]:
    """The endpoint (with `/v1`) of a server that holds `slot`'s files until the block ends.

    A server that is not ours to start is used where it stands. `extra`: further options of the child. `timeout`: seconds it
    may take to load; None: `patience`. Raises ArtifactError when the file cannot be loaded, UpstreamUnavailable when nothing
    answers in time, MissingExtra without the server's packages.
    """
    command = engine_of(slot).command(slot, root)
    if command is None:
        if slot.endpoint is None:
            raise ConfigError(f"slot {slot.id} has no endpoint", fix="give the slot an endpoint")
        yield slot.endpoint
        return
    key_of(slot.api_key_env or None)  # said before a server is started that would only end again
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [*command, *extra], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **QUIET}
        )
        try:
            yield _address(child, slot, errors, patience(slot, root) if timeout is None else timeout) + "/v1"
        finally:
            _end(child)


def patience(slot: Slot, root: Path) -> float:
    """Seconds that a server may take to load a slot's files: a large model is read from a slow disk before it answers."""
    files = [root / name for name in slot.files.values()]
    return START + sum(path.stat().st_size for path in files if path.is_file()) / READ


def _address(child: subprocess.Popen[bytes], slot: Slot, errors: IO[bytes], timeout: float) -> str:
    deadline = time.monotonic() + timeout
    line = _first_line(child, deadline)
    if not line:
        if time.monotonic() > deadline:
            raise UpstreamUnavailable(f"slot {slot.id}: the server did not answer in {timeout:.0f} s: {_last_words(errors)}")
        _end(child)
        said = _last_words(errors)
        if child.returncode == ArtifactError.exit_code:
            raise ArtifactError(said or f"slot {slot.id}: the file cannot be loaded")
        if missing := ABSENT.search(said):
            raise MissingExtra(f"the model server needs package {missing[1]}, which is not installed", fix=LOCAL)
        if child.returncode == KILLED:
            raise UpstreamUnavailable(
                f"slot {slot.id}: the server was killed while it loaded, as the system does for want of memory",
                fix="free some memory, or use a smaller quantization",
            )
        raise UpstreamUnavailable(f"slot {slot.id}: the server ended with {child.returncode} before it answered: {said}")
    address = str(json.loads(line)["listening"])
    while not healthy(address, engine=slot.engine):
        if time.monotonic() > deadline or child.poll() is not None:
            raise UpstreamUnavailable(f"slot {slot.id}: the server at {address} did not become healthy in {timeout:.0f} s")
        time.sleep(0.05)
    return address


def _first_line(child: subprocess.Popen[bytes], deadline: float) -> bytes:
    """The report line, or nothing when the child ends or is too slow. Lines that are not the report are passed over."""
    assert child.stdout is not None
    stream = child.stdout
    os.set_blocking(stream.fileno(), False)
    waiting = selectors.DefaultSelector()
    waiting.register(stream, selectors.EVENT_READ)
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if not waiting.select(left):
            break
        piece = stream.read(65536)
        if not piece:
            break
        data += piece
        for line in data.split(b"\n")[:-1]:
            if line.startswith(b'{"listening"'):
                return line
    return b""


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 4096))
    lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""


def _end(child: subprocess.Popen[bytes]) -> None:
    # llama.cpp ends at once on SIGTERM; SIGKILL is for a server that hangs.
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(5)
    if child.stdout is not None:
        child.stdout.close()
