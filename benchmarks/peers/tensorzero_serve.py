"""Run by TensorZero's own Python: starts the Rust gateway that its package carries, says where it listens, waits to be ended."""

from __future__ import annotations

import json
import signal
import sys

from tensorzero.tensorzero import _start_http_gateway  # type: ignore[import-not-found]

gateway = _start_http_gateway(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print(json.dumps({"listening": gateway.base_url}), flush=True)
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
signal.pause()
