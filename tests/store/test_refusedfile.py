from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tunekeeper.store.refusedfile import NOTE, accept, refuse, refused

T0 = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def test_of_several_refusals_of_one_file_the_newest_reason_and_the_first_moment_count(tmp_path: Path) -> None:
    assert refused(tmp_path) is None
    refuse(tmp_path, "a.yaml", "a.yaml:1: broken", T0)
    refuse(tmp_path, "a.yaml", "a.yaml:2: still broken", T0 + timedelta(hours=1))
    note = refused(tmp_path)
    assert note is not None
    assert (note.why, note.since) == ("a.yaml:2: still broken", T0)
    refuse(tmp_path, "b.yaml", "b.yaml:1: broken", T0 + timedelta(hours=2))
    note = refused(tmp_path)
    assert note is not None
    assert note.since == T0 + timedelta(hours=2)
    accept(tmp_path)
    accept(tmp_path)
    assert refused(tmp_path) is None


def test_a_note_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    refuse(tmp_path, "a.yaml", "broken", T0)
    (tmp_path / "run" / NOTE).write_bytes(b"{")
    assert refused(tmp_path) is None
