"""The index of body ids."""

from __future__ import annotations

from pathlib import Path

from tunekeeper.store.log.bodyids import RECORD, Index

HOUR = "2026-01-05T09"


def test_pairs_are_found_before_and_after_the_hour_is_sorted(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.add(HOUR, [(f"chatcmpl-{n}", f"req_{n:030d}") for n in range(500)])
    index.add(HOUR, [("chatcmpl-7", "req_other"), ("chatcmpl-7", "req_other")])
    expected = {f"req_{7:030d}", "req_other"}
    assert index.find("chatcmpl-7", [HOUR]) == expected
    index.settle(HOUR)
    assert index.loose_hours() == []
    assert index.find("chatcmpl-7", [HOUR]) == expected
    assert (tmp_path / "ids" / f"{HOUR}.sorted").stat().st_size == 501 * RECORD
    index.add(HOUR, [("late", "req_late")])
    assert index.find("late", [HOUR]) == {"req_late"}
    index.settle(HOUR)
    assert index.find("late", [HOUR]) | index.find("chatcmpl-7", [HOUR]) == {"req_late", *expected}
    assert index.find("late", []) == set()


def test_a_pair_that_a_kill_cut_short_does_not_shift_the_next(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.add(HOUR, [("a", "req_a"), ("b", "req_b")])
    path = tmp_path / "ids" / HOUR
    path.write_bytes(path.read_bytes()[:-5])
    index.add(HOUR, [("b", "req_b"), ("c", "req_c")])
    assert [index.find(name, [HOUR]) for name in "abc"] == [{"req_a"}, {"req_b"}, {"req_c"}]


def test_an_id_too_long_for_the_index_is_left_out(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.add(HOUR, [("a", "x" * 41)])
    assert index.hours() == []
    assert index.find("a", [HOUR]) == set()


def test_erased_requests_leave_every_hour(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.add(HOUR, [("same", "req_a"), ("same", "req_b")])
    index.settle(HOUR)
    index.add("2026-01-05T10", [("same", "req_a")])
    index.forget({"req_a"})
    assert index.find("same", index.hours()) == {"req_b"}
