"""Proxies that are told to send everything elsewhere, as one who runs them does it: nginx and HAProxy by a file and a reload.

Each is started with two workers and kept connections, and `move` returns when the command that the operator would wait for does.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contender import REPOSITORY, Dialect, NotMeasured, child, first_line, free_port, wait_for_answer

Backends = Mapping[str, str]
"""Name → host:port; the names are `a` and `b`."""
SERVE = """\
durability: process
models:
  desk:
    assign_by: user
    slots:
      a: {{engine: openai, endpoint: "http://{a}/v1", model: a}}
      b: {{engine: openai, endpoint: "http://{b}/v1", model: b}}
    route: {{a: 10000}}
"""
NGINX = """\
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  keepalive_requests 1000000000;
  upstream model {{ server {backend}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
HAPROXY = """\
global
  nbthread 2
  stats socket {folder}/stats.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  option http-keep-alive
frontend in
  bind 127.0.0.1:{port}
  default_backend model
backend model
  server one {backend}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """One that is running with everything going to `a`."""

    url: str
    """Where it listens."""
    move: Callable[[str], dict[str, float]]
    """Send everything to a backend; returns once the command has, with what that said (`ms`) where it says something."""


@contextmanager
def ours(folder: Path, backends: Backends) -> Iterator[Proxy]:
    """`tunekeeper serve`; away with `route set`, back with `rollback`."""
    file, data = folder / "gateway.yaml", folder / "data"
    file.write_text(SERVE.format(**backends))
    words = ["serve", "--config", str(file), "--port", "0", "--data", str(data), "--workers", "2"]
    with child([sys.executable, "-m", "tunekeeper", *words], None) as process:
        url = str(first_line(process)["url"])
        wait_for_answer(process, url, Dialect(), time.perf_counter())

        def move(to: str) -> dict[str, float]:
            words = ["route", "set", "desk", "b=10000"] if to == "b" else ["rollback", "desk"]
            command = [sys.executable, "-m", "tunekeeper", *words, "--data", str(data), "--json"]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(words)}: {done.stderr[-500:]}")
            said = json.loads(done.stdout)
            if (said["to"], len(said["acknowledged_by"]) + len(said["pending"])) != (to, 2):
                raise SystemExit(f"{' '.join(words)}: {done.stdout}")
            return {"ms": float(said["ms"])}

        yield Proxy(url=url, move=move)


@contextmanager
def nginx(folder: Path, backends: Backends) -> Iterator[Proxy]:
    """nginx, moved by a changed file and `nginx -s reload`."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NotMeasured("install your system's package nginx")
    port, file = free_port(), folder / "nginx.conf"
    command = [program, "-p", str(folder), "-c", str(file)]

    def write(to: str) -> None:
        file.write_text(NGINX.format(folder=folder, backend=backends[to], port=port))

    def move(to: str) -> dict[str, float]:
        write(to)
        subprocess.run([*command, "-s", "reload"], check=True, capture_output=True)
        return {}

    write("a")
    with child(command, None, log=folder / "said") as process:
        url = f"http://127.0.0.1:{port}"
        wait_for_answer(process, url, Dialect(), time.perf_counter(), folder / "said")
        yield Proxy(url=url, move=move)


@contextmanager
def haproxy(folder: Path, backends: Backends) -> Iterator[Proxy]:
    """HAProxy as master and worker, moved by a changed file and the signal of a reload."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NotMeasured("install your system's package haproxy")
    port, file = free_port(), folder / "haproxy.cfg"

    def write(to: str) -> None:
        file.write_text(HAPROXY.format(folder=folder, backend=backends[to], port=port))

    write("a")
    with child([program, "-W", "-f", str(file)], None, log=folder / "said") as process:

        def move(to: str) -> dict[str, float]:
            write(to)
            process.send_signal(signal.SIGUSR2)
            return {}

        url = f"http://127.0.0.1:{port}"
        wait_for_answer(process, url, Dialect(), time.perf_counter(), folder / "said")
        yield Proxy(url=url, move=move)


Start = Callable[[Path, Backends], AbstractContextManager[Proxy]]
PEERS: dict[str, Start] = {"nginx": nginx, "haproxy": haproxy}
"""Name → how it is started. Raises NotMeasured."""
