"""Where Parquet files lie and which of them count."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunekeeper.store.log import partitions
from tunekeeper.store.log.columns import hour_of, schema
from tunekeeper.store.log.partitions import files, model_folder, visible, write_table


@pytest.mark.parametrize("model", ["..", "../x", "a/b", ".hidden", "_x", "", "é", "x" * 65, "a\0b"])
def test_a_name_that_is_no_safe_folder_becomes_a_hash(model: str) -> None:
    assert len(model_folder(model)) == 17
    assert model_folder(model).startswith("_")
    assert model_folder(model) != model_folder(model + "!")


def test_a_plain_name_is_its_own_folder() -> None:
    assert model_folder("support-desk") == "support-desk"
    assert model_folder(None) == "_"


def test_only_hours_and_models_that_can_hold_rows_are_listed(tmp_path: Path) -> None:
    empty = schema("metrics").empty_table()
    for hour in ("2026-01-05T09", "2026-01-05T10", "2026-01-05T11"):
        for model in ("a", "b"):
            write_table(tmp_path / "log" / "metrics" / hour / model, "x.parquet", "metrics", empty)
    (tmp_path / "log" / "metrics" / "stray").mkdir()
    since, until = datetime(2026, 1, 5, 10, 30, tzinfo=UTC), datetime(2026, 1, 5, 11, 0, tzinfo=UTC)
    found = [str(p.relative_to(tmp_path / "log" / "metrics")) for p in files(tmp_path, "metrics", since, until, "b")]
    assert found == ["2026-01-05T10/b/x.parquet"]
    assert len(files(tmp_path, "metrics", None, None)) == 6
    assert files(tmp_path, "bodies", None, None) == []


def test_sources_count_until_the_merged_file_exists_and_not_after(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "c.parquet", ".d.parquet.new"):
        (tmp_path / name).touch()
    partitions.write_whole(tmp_path / "m.parquet.journal", b'{"target":"m.parquet","sources":["a.parquet","b.parquet"]}')
    assert visible(tmp_path) == ["a.parquet", "b.parquet", "c.parquet"]
    (tmp_path / "m.parquet").touch()
    assert visible(tmp_path) == ["c.parquet", "m.parquet"]


def test_a_stamp_without_a_zone_is_utc() -> None:
    assert hour_of(datetime(2026, 1, 5, 9, 59)) == "2026-01-05T09"
    assert hour_of(datetime.fromisoformat("2026-01-05T01:30:00+02:00")) == "2026-01-04T23"
