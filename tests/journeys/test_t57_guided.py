"""T57: every parser under atheris, which steers by the lines that an input reaches: `make torture NAME=T57`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.guides import GUIDED
from tests.journeys.rig import SECONDS, WHOLE, figure, say
from tests.outside.conftest import REPOSITORY

SEED = 57
ATHERIS = os.environ.get("TEST_ATHERIS", "")
"""Folder that holds the atheris package; the Makefile makes it."""
pytestmark = pytest.mark.timeout(SECONDS)


@pytest.mark.parametrize("name", GUIDED if WHOLE else [])
def test_a_guided_search_makes_no_parser_raise_what_it_does_not_document(name: str, tmp_path: Path) -> None:
    if not (Path(ATHERIS) / "atheris").is_dir():
        print(f"T57 parser={name} not run: atheris is not installed")
        pytest.skip("atheris is not installed")
    command = [sys.executable, "-m", "tests.journeys.guided", name, str(figure(5, 600)), str(tmp_path / "corpus"), str(SEED)]
    environ = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{ATHERIS}"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, errors="replace")
    seen = re.findall(r"cov: (\d+)", done.stderr)
    tried, held = (re.search(rf"stat::{what}:\s+(\d+)", done.stderr) for what in ("number_of_executed_units", "peak_rss_mb"))
    broken = [line for line in done.stdout.splitlines() if line.startswith("BROKEN")]
    say(
        "T57",
        SEED,
        parser=name,
        tried=tried and tried[1],
        reached=f"{seen[0]}-{seen[-1]}" if seen else None,
        held_mb=held and held[1],
        broken=len(broken),
    )
    assert broken == []
    assert done.returncode == 0, done.stderr[-3000:]
    assert tried is not None
    assert int(tried[1]) > 100
