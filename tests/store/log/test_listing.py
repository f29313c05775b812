"""What is remembered of folders and footers is never older than what lies there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from tunekeeper.store.log.columns import schema
from tunekeeper.store.log.listing import Listing, Stored, clusters
from tunekeeper.store.log.partitions import write_table


def table(*ids: str) -> pa.Table:
    shape = schema("metrics")
    given = {"request_id": pa.array(ids, pa.string())}
    return pa.Table.from_arrays([given.get(f.name, pa.nulls(len(ids), f.type)) for f in shape], schema=shape)


def aged(*folders: Path) -> None:
    """Give folders a time that a listing trusts."""
    before = time.time() - 60
    for folder in folders:
        os.utime(folder, (before, before))


def test_a_file_that_comes_or_goes_is_seen_although_its_folder_was_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "log" / "metrics" / "2026-01-05T09" / "desk"
    first = write_table(folder, "a.parquet", "metrics", table("a"))
    aged(folder, folder.parent, folder.parent.parent)
    listing = Listing(tmp_path)
    assert listing.files("metrics", None, None) == listing.files("metrics", None, None, "desk") == [str(first)]
    second = write_table(folder, "b.parquet", "metrics", table("b"))
    assert listing.files("metrics", None, None) == [str(first), str(second)]
    first.unlink()
    assert listing.files("metrics", None, None) == [str(second)]
    other = write_table(folder.parent / "other", "c.parquet", "metrics", table("c"))
    assert listing.files("metrics", None, None) == [str(second), str(other)]


def test_a_change_within_the_same_tick_as_the_listing_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "log" / "metrics" / "2026-01-05T09" / "desk"
    write_table(folder, "a.parquet", "metrics", table("a"))
    listing, stamp = Listing(tmp_path), folder.stat().st_mtime_ns
    for n in range(3):
        assert len(listing.files("metrics", None, None)) == n + 1
        write_table(folder, f"b{n}.parquet", "metrics", table("b"))
        os.utime(folder, ns=(stamp, stamp))


def test_a_file_written_anew_under_its_name_is_read_anew(tmp_path: Path) -> None:
    path = write_table(tmp_path, "a.parquet", "metrics", table("a", "c"))
    listing = Listing(tmp_path)
    assert [(one.low, one.high) for one in listing.stored([str(path)])] == [("a", "c")]
    write_table(tmp_path, "a.parquet", "metrics", table("a", "b"))
    assert [(one.low, one.high) for one in listing.stored([str(path)])] == [("a", "b")]
    write_table(tmp_path, "a.parquet", "metrics", table())
    assert listing.stored([str(path)]) == []
    path.unlink()
    with pytest.raises(FileNotFoundError):
        listing.stored([str(path)])


def stored(name: str, low: str, high: str) -> Stored:
    return Stored(path=name, stamp=(0, 0, 0), low=low, high=high, columns=())


def test_only_files_whose_ids_overlap_are_grouped_and_the_range_holds_every_shared_id() -> None:
    apart, a, b, c = stored("1", "a", "b"), stored("2", "c", "m"), stored("3", "f", "h"), stored("4", "h", "k")
    (found,) = clusters([c, a, apart, b])
    assert found.files == (a, b, c)
    assert (found.low, found.high) == ("f", "k")
    assert clusters([apart, a]) == clusters([]) == []


def test_files_found_together_with_their_footers_follow_every_change(tmp_path: Path) -> None:
    folder = tmp_path / "log" / "metrics" / "2026-01-05T09" / "desk"
    first = write_table(folder, "a.parquet", "metrics", table("a", "c"))
    write_table(folder.parent / "other", "b.parquet", "metrics", table("b"))
    aged(folder, folder.parent, folder.parent.parent, folder.parent / "other")
    listing = Listing(tmp_path)

    def found(model: str | None) -> list[tuple[str, str]]:
        return [(one.low, one.high) for one in listing.found("metrics", None, None, model)]

    for _ in range(2):
        assert (found("desk"), found(None)) == ([("a", "c")], [("a", "c"), ("b", "b")])
    write_table(folder, "a.parquet", "metrics", table("a", "b"))
    assert found("desk") == [("a", "b")]
    aged(folder)
    assert found("desk") == found("desk") == [("a", "b")]
    first.unlink()
    assert found("desk") == []
    assert listing.found("tokens", None, None, None) == []
