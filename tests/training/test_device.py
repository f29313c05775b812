"""Which device trains, what memory of it is ours, and whether it works in bfloat16 itself."""

from __future__ import annotations

import importlib.metadata
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.errors import UserError
from tunekeeper.training import device
from tunekeeper.training.device import (
    CHOICE,
    FASTER_FROM,
    VISIBLE,
    Room,
    choose,
    gpus,
    imagined,
    number_format,
    processor,
    room,
    visible,
)

SAID = """\
GPU-aaaa1111, NVIDIA H100, 9.0, 81559, 20000
GPU-bbbb2222, Tesla T4, 7.5, 15360, 15000
GPU-bbbb3333, NVIDIA H100, 9.0, 81559, 80000
No devices were found
A, [N/A], 3
"""
OURS, FREEST = "GPU-aaaa1111", "GPU-bbbb3333"


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an `nvidia-smi` that says what the file `said` holds, and a torch that was built for GPUs."""
    said = tmp_path / "said"
    said.write_text(SAID)
    command = tmp_path / "bin" / "nvidia-smi"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\ncat {said}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cu126")
    return said


def test_the_answer_of_nvidia_smi_is_read_and_anything_else_passed_over() -> None:
    found = list(gpus(SAID))
    assert found[0] == Room(device="NVIDIA H100", total=81559 << 20, free=20000 << 20, bfloat16=True, id=OURS)
    assert [each.bfloat16 for each in found] == [True, False, True], "a T4 only emulates bfloat16"


def test_the_format_of_numbers_is_bfloat16_only_where_nothing_emulates_it() -> None:
    new, old = next(gpus(SAID)), list(gpus(SAID))[1]
    assert (number_format("auto", new, 1), number_format("auto", old, 10**9)) == ("bfloat16", "float32")
    assert number_format("float16", old, 1) == "float16", "what the recipe names is taken"


def test_a_processor_works_in_bfloat16_where_the_base_is_large_enough_to_gain_by_it() -> None:
    able = Room(device="cpu", total=1 << 34, free=1 << 34, bfloat16=True)
    assert [number_format("auto", able, numbers) for numbers in (FASTER_FROM - 1, FASTER_FROM)] == ["float32", "bfloat16"]
    assert number_format("auto", replace(able, bfloat16=False), 10**9) == "float32"
    assert number_format("bfloat16", able, 1) == "bfloat16", "what the recipe names is taken"


def test_torch_is_asked_whether_a_gpu_works_in_bfloat16_without_emulation() -> None:
    class New:
        def is_bf16_supported(self, including_emulation: bool = True) -> bool:
            return including_emulation

    class Old:
        def is_bf16_supported(self) -> bool:
            return True

    assert not device._not_emulated(New())
    assert device._not_emulated(Old()), "a torch before the argument says whether it works at all"


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (None, [OURS, "GPU-bbbb2222", FREEST]),
        ("2,0", [FREEST, OURS]),
        ("GPU-aaaa", [OURS]),
        ("GPU-bbbb", []),  # two begin so
        ("1,7,0", ["GPU-bbbb2222"]),  # nothing counts after an entry that names none
        ("-1", []),
        ("", []),
    ],
)
def test_only_the_gpus_that_the_environment_leaves_are_there(wanted: str | None, left: list[str]) -> None:
    assert [each.id for each in visible(list(gpus(SAID)), wanted)] == left


def test_plan_and_run_take_the_same_gpu_and_torch_sees_no_other(
    cards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room().id == FREEST
    choose(tmp_path)
    assert os.environ[VISIBLE] == FREEST
    assert room().id == FREEST
    monkeypatch.setenv(VISIBLE, "0,1")
    (tmp_path / CHOICE).unlink()
    assert room().id == OURS, "the freest of those two"
    choose(tmp_path)
    assert os.environ[VISIBLE] == OURS


def test_a_run_goes_on_with_the_gpu_it_began_on_or_not_at_all(
    cards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(tmp_path)
    cards.write_text(SAID.replace("80000", "100"))
    monkeypatch.delenv(VISIBLE)
    assert room().id == OURS
    choose(tmp_path)
    assert os.environ[VISIBLE] == FREEST, "another one is freer now, and would give other numbers"
    monkeypatch.setenv(VISIBLE, "0")
    with pytest.raises(UserError, match=f"began on GPU {FREEST}, which is not to be seen"):
        choose(tmp_path)


def test_a_torch_without_gpus_trains_on_the_processor(cards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu")
    choose(tmp_path)
    assert not room().gpu
    assert VISIBLE not in os.environ
    assert not (tmp_path / CHOICE).exists()


def test_there_is_room_on_the_machine_that_runs_this() -> None:
    assert 0 < processor().free <= processor().total


def test_the_number_format_of_a_processor_follows_what_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags : avx2")
    assert not processor(tmp_path).bfloat16
    (tmp_path / "cpuinfo").write_text("flags : avx2 avx512_bf16")
    assert processor(tmp_path).bfloat16


def test_a_system_that_says_nothing_under_proc_is_asked_otherwise(tmp_path: Path) -> None:
    assert processor(tmp_path).total > 0


def test_a_plan_can_be_made_for_a_machine_that_is_not_there() -> None:
    assert imagined("gpu:24") == Room(device="a GPU of 24 GB", total=24 * 10**9, free=24 * 10**9, bfloat16=True)
    assert not imagined("cpu:36").gpu
    for text in ("24", "gpu", "gpu:", "tpu:8", "gpu:-1", "gpu:0", "gpu:1.5"):
        with pytest.raises(UserError, match="not a machine"):
            imagined(text)
