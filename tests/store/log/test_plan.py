"""Every row once, and the costly ways only where an id can be twice."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tunekeeper.store.log.columns import schema
from tunekeeper.store.log.listing import Cluster, Listing
from tunekeeper.store.log.partitions import write_table
from tunekeeper.store.log.plan import DOUBLED, joined
from tunekeeper.store.log.tail import id_range


def table(ids: list[str], origin: str, less: str | None = None) -> pa.Table:
    shape = schema("metrics")
    given = {"request_id": pa.array(ids, pa.string()), "origin": pa.array([origin] * len(ids), pa.string())}
    made = pa.Table.from_arrays([given.get(f.name, pa.nulls(len(ids), f.type)) for f in shape], schema=shape)
    return made if less is None else made.drop_columns([less])


@pytest.mark.parametrize("seed", range(6))
def test_tail_and_files_together_hold_every_id_once(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    letters = [f"{n:03d}" for n in range(300)]
    groups = []
    for n in range(8):
        start = rng.randrange(250)
        groups.append(sorted(rng.sample(letters[start : start + 50], rng.randrange(20))))
        less = "slot" if n == 3 else None  # a file of an older version
        write_table(tmp_path, f"{n}.parquet", "metrics", table(groups[-1], str(n), less))
    hot = table(sorted(rng.sample(letters[100:], rng.choice([0, 30]))), "hot")
    files = Listing(tmp_path).stored(str(path) for path in sorted(tmp_path.glob("*.parquet")))
    with duckdb.connect() as connection:
        connection.register("hot", hot)

        def doubled(cluster: Cluster) -> bool:
            given = {"files": [one.path for one in cluster.files], "low": cluster.low, "high": cluster.high}
            return bool(connection.execute(DOUBLED, given).fetchall()[0][0])

        sql, places = joined(files, id_range(hot), doubled)
        rows = connection.sql(f"SELECT request_id, origin, slot FROM ({sql})", params=places).fetchall()
    wanted = {id for ids in groups for id in ids} | set(hot["request_id"].to_pylist())
    assert sorted(id for id, _, _ in rows) == sorted(wanted)
    assert {id for id, origin, _ in rows if origin == "hot"} == set(hot["request_id"].to_pylist())


def test_files_that_lie_apart_from_each_other_and_from_the_tail_are_read_plainly(tmp_path: Path) -> None:
    for n, ids in enumerate((["a", "b"], ["c", "d"], ["x"])):
        write_table(tmp_path, f"{n}.parquet", "metrics", table(ids, str(n)))
    files = Listing(tmp_path).stored(str(path) for path in sorted(tmp_path.glob("*.parquet")))
    sql, places = joined(files, ("w", "z"), lambda cluster: True)
    assert places == {"apart": [files[0].path, files[1].path], "near": [files[2].path]}
    assert sql.count("NOT IN") == 1
    sql, places = joined(files, None, lambda cluster: True)
    assert "hot" not in sql
    assert list(places) == ["apart"]
