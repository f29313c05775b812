"""Which rows a question reads: the hot tail and the Parquet files, joined so that each request id comes once.

Taking each id once costs more than the rest of a question, so it is done only where an id can be twice: where the ranges of the
ids of tail and file, or of two files, overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunekeeper.store.log.listing import Cluster, Stored, clusters
from tunekeeper.store.log.records import METRIC_TYPES

_NOT_HOT = " WHERE request_id NOT IN (SELECT request_id FROM hot)"
_COMPLETE = set(METRIC_TYPES)
DOUBLED = (
    "SELECT count(*) > count(DISTINCT request_id) FROM read_parquet($files, union_by_name = true) "
    "WHERE request_id BETWEEN $low AND $high"
)
"""Whether an id stands twice in `files`, looked for in `[low, high]`."""


def joined(
    files: Sequence[Stored], hot: tuple[str, str] | None, doubled: Callable[[Cluster], bool]
) -> tuple[str, dict[str, list[str]]]:
    """The SQL that gives every row once, and its parameters, lists of paths. `hot`: lowest and highest id of the tail, None when
    it is empty; the table `hot` must be known to the connection. `doubled` says whether a cluster does hold an id twice."""
    twice = {one.path for cluster in clusters(files) if doubled(cluster) for one in cluster.files}
    near = {one.path for one in files if hot is not None and one.overlaps(*hot)}
    groups = {
        "apart": [one for one in files if one.path not in twice and one.path not in near],
        "near": [one for one in files if one.path not in twice and one.path in near],
        "twice": [one for one in files if one.path in twice],
    }
    alone = hot is None and files and all(set(one.columns) >= _COMPLETE for one in files)
    parts = [] if alone else ["SELECT * FROM hot"]
    for name, group in groups.items():
        if group:
            parts.append(_part(name, group))
    return " UNION ALL BY NAME ".join(parts), {name: [one.path for one in group] for name, group in groups.items() if group}


def _part(name: str, group: Sequence[Stored]) -> str:
    """One group's SQL. Columns are matched by name over all files only where they differ (files of an older version)."""
    alike = len({one.columns for one in group}) == 1
    source = f"read_parquet(${name})" if alike else f"read_parquet(${name}, union_by_name = true)"
    if name == "apart":
        return "SELECT * FROM " + source
    if name == "near":
        return "SELECT * FROM " + source + _NOT_HOT
    return "SELECT * FROM (SELECT DISTINCT ON (request_id) * FROM " + source + " ORDER BY request_id, origin)" + _NOT_HOT
