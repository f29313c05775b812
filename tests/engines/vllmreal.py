"""A real vLLM for the tests that are marked `vllm`, on the CPU: it takes a minute to start and 3 GB, so one at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import until
from tunekeeper.engines import healthy

SLOW = 900
"""Seconds for a test that may have to wait for a real server to start."""


def make_trained(folder: Path) -> Path:
    """Adapters that PEFT wrote, and what transformers answers with them; torch stays out of the test process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.vllmexchanges", "make", str(folder)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@contextlib.contextmanager
def really_serving(model: Path, name: str, folder: Path, *options: str, **environ: str) -> Iterator[str]:
    """The address of a vLLM that serves the checkpoint folder `model` as `name` in float32 while the block lasts.

    `folder`: an empty one for its log. `options`, `environ`: more of its command line and environment. Skips without TEST_VLLM.
    """
    python = os.environ.get("TEST_VLLM")
    if not python:
        pytest.skip("there is no real vLLM: make test-vllm")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    usual = {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port), "--model", str(model),
        "--served-model-name", name, "--enforce-eager", "--dtype", "float32", "--max-model-len", "512", *options,
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **usual, **environ},
            start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: child.poll() is not None or healthy(url, engine="vllm"), seconds=SLOW - 100)
        assert child.poll() is None, (folder / "log").read_text()[-3000:]
        yield url
    finally:
        _end(child)
        shutil.rmtree(folder, ignore_errors=True)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started, which are a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(30)
