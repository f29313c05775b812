"""T47: pickles in any coat, headers that lie, configurations that bring code: refused soon, and nothing of them is ever run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import DESK
from tests.journeys.rig import SECONDS, at, figure, say, within
from tests.journeys.weapons import lying_gguf, lying_tensors, pickles
from tests.outside.conftest import REPOSITORY, environment
from tunekeeper.deployment.exporting import export_folder

SEED = 47
pytestmark = pytest.mark.timeout(SECONDS)
CODE = "import os\nos.mkdir({reached!r})\n"
CONFIGS: dict[str, dict[str, Any]] = {
    "auto_map": {"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}},
    "architecture": {"architectures": ["EvilForCausalLM"], "model_type": "evil"},
    "remote": {"auto_map": {"AutoModelForCausalLM": "someone/somewhere--evil.M"}},
}


def folders(into: Path, reached: Path, good: Path) -> None:
    """Checkpoint and adapter folders that bring code along, or have nothing but a pickle."""
    for name, changes in CONFIGS.items():
        folder = into / f"config-{name}"
        folder.mkdir()
        for file in good.iterdir():
            os.link(file, folder / file.name)
        (folder / "config.json").unlink()
        (folder / "config.json").write_text(json.dumps(json.loads((good / "config.json").read_text()) | changes))
        for code in ("evil.py", "modeling_evil.py", "tokenization_evil.py", "__init__.py", "sitecustomize.py"):
            (folder / code).write_text(CODE.format(reached=str(reached)))
    ends = (".bin", ".pt", "r.safetensors")
    for number, (name, data) in enumerate(each for each in pickles(reached) if each[0].endswith(ends)):
        folder = into / f"folder-{number}"
        folder.mkdir()
        (folder / "config.json").write_bytes((good / "config.json").read_bytes())
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "auto_mapping": {"m": "evil"}}')
        (folder / name.split("-")[-1]).write_bytes(data)
    os.mkfifo(into / "pipe.gguf")
    (into / "device.safetensors").symlink_to("/dev/zero")


def test_a_model_file_that_lies_or_wants_to_run_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    into, reached = tmp_path / "files", tmp_path / "reached"
    into.mkdir()
    whole = tmp_path / "whole.gguf"
    export_folder(DESK, None, "f16", whole)
    right, rng = whole.read_bytes()[:300_000], random.Random(SEED)
    files = [*pickles(reached), *lying_tensors(), *lying_gguf(right, rng, figure(40, 4000))]
    for name, data in files:
        (into / name).write_bytes(data)
    folders(into, reached, DESK)
    del files
    done = subprocess.run(
        [sys.executable, "-m", "tests.journeys.loader", str(into), str(DESK)],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS - 60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tries = [json.loads(line) for line in done.stdout.splitlines()]
    let_in = [(each["file"], each["way"]) for each in tries if each["why"] is None]
    ran = [each["events"] for each in tries if each["events"]]
    memory = max(each["grown_mb"] for each in tries if each["way"] != "export")
    say(
        "T47",
        SEED,
        files=len(list(into.iterdir())),
        tries=len(tries),
        let_in=len(let_in),
        ran=len(ran) + reached.exists(),
        slowest_s=max(each["seconds"] for each in tries),
        p95_s=at([each["seconds"] for each in tries], 0.95),
        grown_mb=memory,
        by=max((each for each in tries if each["way"] != "export"), key=lambda each: each["grown_mb"])["file"],
        exporting_mb=max(each["grown_mb"] for each in tries),
    )
    assert {each["way"] for each in tries} == {"inspect", "checkpoint", "adapter", "export", "train"}
    assert [entry for entry in let_in if entry not in GOES_ON] == []
    assert ran == []
    assert not reached.exists()
    assert not [each["why"] for each in tries if each["why"] and len(each["why"].splitlines()) > 1]
    assert within(max(each["seconds"] for each in tries), 10)
    assert memory < 50


GOES_ON = {(f"config-{name}", "train") for name in CONFIGS}
"""Only the digests are taken; `open_checkpoint` refuses these, and so does transformers, which is never told to trust them."""
