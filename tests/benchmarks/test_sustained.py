"""Writer, keeper and reader beside each other: everything that was written is there, and the figures are of that run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from benchmarks import log, sustained
from tunekeeper.core.clock import SystemClock
from tunekeeper.store.log import Log


def test_what_is_appended_beside_keeper_and_reader_is_all_compacted_and_the_figures_are_of_it(tmp_path: Path) -> None:
    records = list(log.Source(400, span=timedelta(minutes=1)))
    found = sustained.run(tmp_path / "data", records, 2_000)
    assert 0 < found["rate"] <= 2_000 * 1.05
    assert found["lag_s"] >= 0
    assert found["keeper_us"] > 0
    assert found["ask_ms"] > 0
    assert list((tmp_path / "data" / "spool").glob("*.jsonl")) == []
    (row,) = Log(tmp_path / "data", SystemClock()).window(None, None, None)
    assert row.requests == 400
