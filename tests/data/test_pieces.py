from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import OutsideError
from tunekeeper.data import lines, pieces
from tunekeeper.data.examples import encode
from tunekeeper.store import packs
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.rows import SIDES, Rows

ROWS = 2000


@pytest.fixture
def draft(row: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A draft of some pieces, two rows of which stand in it again."""
    monkeypatch.setattr(pieces, "PIECE", 64 << 10)
    path = tmp_path / "draft.jsonl"
    whole = [encode(row(f"q{n}", "a", id=f"t{n}"), with_split=True) for n in range(ROWS)]
    path.write_bytes(b"".join([*whole, whole[0], whole[-1]]))
    return path


def rows_in(folder: Path) -> Rows:
    return Rows(Blobs(folder / "blobs"), folder / "files")


def processors(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))


def test_a_version_is_the_same_bytes_however_many_processes_stored_it(
    draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for count in (1, 2, 3):
        processors(monkeypatch, count)
        rows = rows_in(tmp_path / str(count))
        kept = pieces.keep(rows, draft)
        blobs = {path.name: path.read_bytes() for path in (tmp_path / str(count) / "blobs").rglob("*") if path.is_file()}
        assert len(rows.open(kept.manifest).manifest.packs) >= 3
        made.append((kept, blobs))
        for side in SIDES:
            assert list(rows.lines(kept.manifest, side)) == [line for line, on in lines.of_draft(draft) if on == side]
    assert made[0] == made[1] == made[2]
    assert made[0][0].digest == rows_in(tmp_path / "whole").keep(lines.of_draft(draft), lines.look).digest


def test_the_version_after_one_of_pieces_knows_its_runs(draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processors(monkeypatch, 2)
    rows = rows_in(tmp_path)
    first = pieces.keep(rows, draft)
    assert pieces.keep(rows, draft, [first.manifest]) == first
    draft.write_bytes(draft.read_bytes().replace(b"q77", b"Q77", 1))
    looked: list[bytes] = []
    monkeypatch.setattr(lines, "of_run", lambda run, of_run=lines.of_run: looked.append(run) or of_run(run))
    second = pieces.keep(rows, draft, [first.manifest])
    assert len(looked) < 20 < 200 < len(list(lines.runs_of_draft(draft))), "the one that changed, and those where pieces meet"
    assert len(rows.open(second.manifest).manifest.packs) == len(rows.open(first.manifest).manifest.packs) + 1
    assert second.digest == rows_in(tmp_path / "whole").keep(lines.of_draft(draft), lines.look).digest


def test_a_small_draft_and_one_of_a_known_dataset_start_no_process(
    draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processors(monkeypatch, 2)
    rows = rows_in(tmp_path)
    known = pieces.keep(rows, draft).manifest

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    pieces.keep(rows, draft, [known])
    small = tmp_path / "small.jsonl"
    small.write_bytes(draft.read_bytes()[: pieces.PIECE].rpartition(b"\n")[0] + b"\n")
    assert pieces.keep(rows, small).counts["train"] > 0
    assert pieces.keep(rows, tmp_path / "none.jsonl").counts == {"train": 0, "eval": 0}


def test_a_line_that_is_no_row_is_said_as_it_is_with_one_process(
    draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft.write_bytes(draft.read_bytes().replace(b'"messages":', b'"massages":', 1))
    said = []
    for count in (1, 2):
        processors(monkeypatch, count)
        with pytest.raises(Exception) as caught:
            pieces.keep(rows_in(tmp_path), draft)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


def test_a_killed_process_is_one_clear_error_and_the_next_try_succeeds(
    draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processors(monkeypatch, 2)
    whole = subprocess.Popen

    class Killed(subprocess.Popen[bytes]):
        """A process that is killed as soon as it runs."""

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            os.kill(self.pid, signal.SIGKILL)

    monkeypatch.setattr(subprocess, "Popen", Killed)
    with pytest.raises(OutsideError, match=r"draft\.jsonl was killed by signal 9"):
        pieces.keep(rows_in(tmp_path), draft)
    monkeypatch.setattr(subprocess, "Popen", whole)
    kept = pieces.keep(rows_in(tmp_path), draft)
    assert sum(kept.counts.values()) == ROWS + 2
    assert all(Blobs(tmp_path / "blobs").verify(pack) for pack in Blobs(tmp_path / "blobs").that_begin(packs.MAGIC))
