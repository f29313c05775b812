"""The benchmark of export: the checkpoint is one, files are compared tensor by tensor, and memory is a process's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from benchmarks import export
from benchmarks.bench import Rounds
from benchmarks.peers import llamacpp
from tunekeeper.deployment.files import export_folder

TINY = replace(export.SMALL, layers=2, inner=512)
QUANTITIES = [f"{kind}_{quantity}" for kind in export.KINDS for quantity in ("cpu_s", "s", "peak_mb")]


def test_the_checkpoint_is_exported_and_every_way_begins_with_the_same_numbers(tmp_path: Path) -> None:
    checkpoint = export.write(tmp_path / "checkpoint", TINY)
    plain, small = tmp_path / "plain.gguf", tmp_path / "small.gguf"
    export_folder(checkpoint, None, "f16", plain)
    made = export_folder(checkpoint, None, "Q4_K_M", small)
    assert made.fallback_tensors == ()
    count = sum(1 for _ in export.tensors(TINY))
    values = {each.name: each.data for each in gguf.GGUFReader(plain).tensors}
    assert len(values) == count
    assert 0.015 < float(np.std(values["token_embd.weight"].astype(np.float32))) < 0.025
    export_folder(plain, None, "Q4_K_M", tmp_path / "again.gguf")
    assert export.unlike(small, tmp_path / "again.gguf") == 0, "f16 lost nothing"
    assert export.unlike(small, plain) == sum(each.tensor_type.name != "F32" for each in gguf.GGUFReader(plain).tensors)


def test_memory_is_that_of_a_process_and_its_children_and_of_no_file() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytearray(60_000_000); input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child, export.own_memory(child.pid) as most:
        while most[0] < 60 and child.poll() is None:
            pass
        child.communicate(b"\n")
    assert most[0] < 600
    assert export.own_mb(0) == 0.0


def test_a_command_that_fails_has_no_figure() -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        export.run([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_goals_stand_at_the_size_they_were_set_for_and_a_missing_peer_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = dict.fromkeys(QUANTITIES, 3.0), dict.fromkeys(QUANTITIES, 2.0)
    both = Rounds([{"ours": ours, "llamacpp": theirs}])
    found = {each.id: each for each in export.figures(both, {"f16": 0.0, "Q4_K_M": 1.0}, export.WHOLE)}
    assert (found["f16_cpu_to_llamacpp"].value, found["f16_cpu_to_llamacpp"].holds) == (1.5, False)
    assert (found["f16_tensors_unlike_llamacpp"].holds, found["Q4_K_M_tensors_unlike_llamacpp"].holds) == (True, False)
    assert found["f16_peak_to_largest_tensor"].value == pytest.approx(3e6 / (4 * 1536 * 151_936))
    alone = {each.id: each for each in export.figures(Rounds([{"ours": ours}]), {}, export.SMALL)}
    assert list(alone) == list(found)
    assert alone["Q4_K_M_cpu_to_llamacpp"].as_json()["value"] == "not measured"
    assert alone["Q4_K_M_tensors_unlike_llamacpp"].as_json()["value"] == "not measured"
    assert alone["f16_cpu_to_llamacpp"].goal is None
    monkeypatch.setattr(export, "PEERS", tmp_path)
    assert export.missing() == {"llama.cpp": 'make bench-peers ARGS="llamacpp"'}
    assert llamacpp.converter(tmp_path).name == "convert_hf_to_gguf.py"
