"""How each peer is started, as fast as it can be: one worker, no access log, no store of its own, connections kept open.

A peer that lies in `benchmarks/.peers` (`make bench-peers`) or on the PATH is used. Of another it is said how to get it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.peers.contender import Contender, Cores, Dialect, NotMeasured, child, first_line, free_port, wait_for_answer

PEERS = Path(__file__).resolve().parents[1] / ".peers"
KEY = "sk-a-key-of-the-benchmark-and-of-nothing-else"
MAKE = "make bench-peers"

NGINX = """\
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  keepalive_requests 1000000000;
  upstream model {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
LITELLM = """\
model_list:
  - model_name: desk
    litellm_params: {{model: openai/m, api_base: "{upstream}/v1", api_key: none}}
general_settings: {{master_key: {key}}}
litellm_settings: {{telemetry: false}}
"""
TENSORZERO = """\
[gateway]
observability.enabled = false
[models.desk]
routing = ["mock"]
[models.desk.providers.mock]
type = "openai"
model_name = "m"
api_base = "{upstream}/v1"
api_key_location = "none"
"""
ENVOY = """\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: model, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: model
    type: STATIC
    connect_timeout: 2s
    circuit_breakers: {{thresholds: [{{max_connections: 8192, max_pending_requests: 8192, max_requests: 8192}}]}}
    load_assignment:
      cluster_name: model
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {upstream_port}}}}}}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """One gateway that is measured beside ours."""

    start: Callable[[Path, str, Cores], AbstractContextManager[Contender]]
    """Given an empty folder, the model server's address and the cores: the running peer. Raises NotMeasured."""
    rate: float | None = None
    """How many times its requests per second ours should answer; None: no promise."""


def _program(path: Path, install: str = MAKE) -> str:
    """Raises NotMeasured with `install` when `path` is not there."""
    if not path.exists():
        raise NotMeasured(install)
    return str(path)


@contextmanager
def nginx(folder: Path, upstream: str, cores: Cores, workers: int = 1) -> Iterator[Contender]:
    """nginx with `proxy_pass` and kept connections."""
    # Debian keeps it off a user's PATH.
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NotMeasured("install your system's package nginx")
    port, log = free_port(), folder / "said"
    words = {"folder": folder, "upstream": upstream.removeprefix("http://"), "port": port, "workers": workers}
    (folder / "nginx.conf").write_text(NGINX.format(**words))
    where = cores if workers == 1 else replace(cores, contender=cores.pair)
    with _listening([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], port, Dialect(), where, log) as one:
        yield one


@contextmanager
def envoy(folder: Path, upstream: str, cores: Cores) -> Iterator[Contender]:
    """Envoy with one worker thread, one route and one cluster."""
    program = shutil.which("envoy") or _program(PEERS / "envoy" / "bin" / "envoy")
    port, log = free_port(), folder / "said"
    host, _, upstream_port = upstream.removeprefix("http://").partition(":")
    (folder / "envoy.yaml").write_text(ENVOY.format(port=port, host=host, upstream_port=upstream_port))
    command = [program, "-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with _listening(command, port, Dialect(), cores, log) as one:
        yield one


@contextmanager
def litellm(folder: Path, upstream: str, cores: Cores) -> Iterator[Contender]:
    """LiteLLM's proxy with a master key and no database."""
    program = _program(PEERS / "litellm" / "bin" / "litellm")
    port, log = free_port(), folder / "said"
    (folder / "litellm.yaml").write_text(LITELLM.format(upstream=upstream, key=KEY))
    command = [program, "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    dialect = Dialect(headers={"authorization": f"Bearer {KEY}"})
    with _listening([*command, "--telemetry", "False"], port, dialect, cores, log, **environ) as one:
        yield one


@contextmanager
def portkey(folder: Path, upstream: str, cores: Cores) -> Iterator[Contender]:
    """Portkey's gateway, which is told with each request where it goes."""
    package = PEERS / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
    node = shutil.which("node")
    if node is None:
        raise NotMeasured(f"install Node.js, then {MAKE}")
    server = _program(package / "build" / "start-server.js")
    port, log = free_port(), folder / "said"
    command = [node, str(Path(__file__).with_name("portkey.mjs")), server, f"--port={port}", "--headless"]
    where = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{upstream}/v1"}
    dialect = Dialect(headers={"authorization": f"Bearer {KEY}", **where})
    environ = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    with _listening(command, port, dialect, cores, log, **environ) as one:
        yield one


@contextmanager
def tensorzero(folder: Path, upstream: str, cores: Cores) -> Iterator[Contender]:
    """TensorZero's Rust gateway as its Python package carries it, without its database: it keeps no log."""
    python = _program(PEERS / "tensorzero" / "bin" / "python")
    (folder / "tensorzero.toml").write_text(TENSORZERO.format(upstream=upstream))
    command = [python, str(Path(__file__).with_name("tensorzero_serve.py")), str(folder / "tensorzero.toml")]
    start = time.perf_counter()
    with child(command, cores.contender, RUST_LOG="error") as process:
        base = str(first_line(process)["listening"])
        url, _, path = base.partition("/openai")
        # It warns of the field `user` at every request.
        dialect = Dialect(path=f"/openai{path}/chat/completions", model="tensorzero::model_name::desk", user=False)
        seconds = wait_for_answer(process, url, dialect, start)
        yield Contender(url=url, dialect=dialect, pid=process.pid, ready_seconds=seconds)


@contextmanager
def _listening(command: list[str], port: int, dialect: Dialect, cores: Cores, log: Path, **environ: str) -> Iterator[Contender]:
    """A peer on `port`, once it answers."""
    start = time.perf_counter()
    with child(command, cores.contender, log=log, **environ) as process:
        url = f"http://127.0.0.1:{port}"
        seconds = wait_for_answer(process, url, dialect, start, log)
        yield Contender(url=url, dialect=dialect, pid=process.pid, ready_seconds=seconds)


PAIR = "nginx2"
"""nginx with two workers, on the cores that two of ours have: what a second worker costs a gateway written in C."""
ALL = {
    "nginx": Peer(start=nginx),
    "envoy": Peer(start=envoy),
    "tensorzero": Peer(start=tensorzero, rate=3.0),
    "portkey": Peer(start=portkey, rate=30.0),
    "litellm": Peer(start=litellm, rate=100.0),
}
"""Name → peer."""
