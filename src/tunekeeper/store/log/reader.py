"""`Log`: the reading side of the inference log, and its two rare writers, import and erase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.clock import Clock
from tunekeeper.core.errors import NotFound
from tunekeeper.core.ids import time_of
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.store.log import columns, partitions
from tunekeeper.store.log.arms import ArmRow
from tunekeeper.store.log.query import Filter, Reader
from tunekeeper.store.log.records import METRIC_TYPES, inference
from tunekeeper.store.log.windows import WindowRow, portions

if TYPE_CHECKING:
    from tunekeeper.store.log.tail import Hot

Bodies = tuple[bytes | None, bytes | None]
_PORTION = 10_000


class Log:
    """The inference log under `root`. DuckDB and pyarrow are loaded by the first question."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self.clock = clock
        self._reader = Reader(root)

    def find(
        self,
        *,
        model: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        variant: str | None = None,
        version: str | None = None,
        rollout: str | None = None,
        purpose: tuple[str, ...] | None = ("user",),
        status: str | None = None,
        request_ids: Sequence[str] | None = None,
        uncounted: bool | None = None,
        limit: int | None = None,
        bodies: bool = True,
        newest_first: bool = False,
    ) -> list[Inference]:
        """Inferences with `since <= timestamp < until` that match everything given, oldest first unless `newest_first`; at most
        `limit`. `purpose` None takes every purpose; `uncounted` those without any token count, or those with one. Without
        `bodies`, request and response are None."""
        wanted = Filter(
            model=model,
            since=since,
            until=until,
            variant=variant,
            version=version,
            rollout=rollout,
            status=status,
            purpose=purpose,
            request_ids=None if request_ids is None else tuple(request_ids),
            uncounted=uncounted,
        )
        table, hot = self._reader.rows(wanted, order="newest" if newest_first else "oldest", limit=limit)
        return self._inferences(table.to_pylist(), hot, bodies)

    def each(
        self,
        *,
        model: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        rollout: str | None = None,
        purpose: tuple[str, ...] | None = None,
        most: int = _PORTION,
    ) -> Iterator[Inference]:
        """Every inference that matches everything given, of every purpose unless some are given, oldest first. Memory holds about
        `most` of them at once, however many there are and however they lie in time."""
        hours = self.hours(model=model, since=since, until=until, rollout=rollout, purpose=purpose)
        for low, high in portions(hours, since, until, most):
            yield from self.find(model=model, since=low, until=high, rollout=rollout, purpose=purpose)

    def hours(
        self,
        *,
        model: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        rollout: str | None = None,
        purpose: tuple[str, ...] | None = None,
    ) -> list[tuple[datetime, int]]:
        """Hours with inferences that match everything given, and how many, oldest first. Bodies are not read."""
        wanted = Filter(model=model, since=since, until=until, rollout=rollout, purpose=purpose)
        counted = self._reader.window(wanted, ("hour",))
        return [(datetime.fromisoformat(f"{row.key['hour']}:00").replace(tzinfo=UTC), row.requests) for row in counted]

    def load(self, request_id: str) -> Inference:
        """One inference. Raises NotFound."""
        rows, hot = self._rows_of(request_id)
        if not rows:
            raise NotFound(f"the log holds no request {request_id!r}", fix="tunekeeper log ls")
        return self._inferences(rows, hot, True)[0]

    def raw(self, request_id: str) -> Bodies:
        """The stored bytes of one request and its response, exactly as they were given to the spool. Raises NotFound."""
        rows, hot = self._rows_of(request_id)
        if not rows:
            raise NotFound(f"the log holds no request {request_id!r}", fix="tunekeeper log ls")
        return self._bodies(rows, hot).get(request_id, (None, None))

    def feedback(
        self,
        *,
        model: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        request_ids: Sequence[str] | None = None,
        kind: tuple[str, ...] | None = None,
    ) -> list[Feedback]:
        """Feedback given in `[since, until)`, oldest first. `model` takes what names the model and what speaks of one of its
        requests."""
        rows = self._reader.statements(since, None if request_ids is None else tuple(request_ids)).to_pylist()
        found = [Feedback(**columns.values_of(row, columns.FEEDBACK_TYPES)) for row in rows]
        kept = [
            f
            for f in found
            if (since is None or f.timestamp >= since)
            and (until is None or f.timestamp < until)
            and (kind is None or f.kind in kind)
        ]
        return kept if model is None else self._of_model(kept, model)

    def window(
        self,
        model: str | None,
        since: datetime | None,
        until: datetime | None,
        by: tuple[str, ...] = (),
        purpose: tuple[str, ...] | None = ("user",),
    ) -> list[WindowRow]:
        """Counts, feedback and latency quantiles of the requests accepted in `[since, until)`, one row per group in the order of
        the groups; groups without requests have none. `by`: fields of Inference, `hour`, `segment:<name>`. Raises UserError for
        anything else."""
        return self._reader.window(Filter(model=model, since=since, until=until, purpose=purpose), by)

    def arms(
        self,
        model: str | None,
        since: datetime | None,
        until: datetime | None,
        by: tuple[str, ...] = ("variant",),
        purpose: tuple[str, ...] | None = ("user",),
    ) -> list[ArmRow]:
        """Every number that the log has of requests accepted in `[since, until)`, one row per group; otherwise as `window`."""
        return self._reader.arms(Filter(model=model, since=since, until=until, purpose=purpose), by)

    def sample(
        self,
        model: str,
        since: datetime | None,
        until: datetime | None,
        n: int,
        seed: int,
        *,
        status: str | None = None,
        version: str | None = None,
    ) -> list[Inference]:
        """`n` inferences of users drawn without replacement, uniformly, the same ones for the same seed and window; a larger `n`
        draws those and more. `status`, `version`: of these only."""
        wanted = Filter(model=model, since=since, until=until, status=status, version=version, purpose=("user",))
        table, hot = self._reader.rows(wanted, order="shuffled", limit=n, seed=seed)
        return self._inferences(table.to_pylist(), hot, True)

    def verify(self, damaged: list[Path] | None = None) -> dict[str, int]:
        """Read everything and count: `records` (request ids), `duplicates` (ids written more than once), `open` (requests that
        have not ended), `corrupt` (damaged stretches and files). Damaged files of records are added to `damaged`."""
        from tunekeeper.store.log.verify import verify

        return verify(self.root, damaged)

    def append_import(self, inferences: Iterable[Inference]) -> tuple[int, int]:
        """Add records of models that were served elsewhere. Returns `(added, skipped)`: an id that the log knows is skipped, so
        importing a file twice adds nothing. Raises DiskFull."""
        from tunekeeper.store.log.imports import append

        return append(self, inferences)

    def erase(self, user: str, *, dry_run: bool = False) -> dict[str, int]:
        """Erase everything a user asked and was answered, in the spool and in Parquet, with the feedback on it. Returns how many
        `requests`, spool `lines` and Parquet `rows` went; with `dry_run` only counts the requests. Raises Busy beside an
        import."""
        from tunekeeper.store import erasures
        from tunekeeper.store.log.erase import erase
        from tunekeeper.store.log.imports import alone

        if dry_run:
            return erase(self.root, user, dry_run=True)
        with alone(self.root):
            erasures.note(self.root, user, self.clock.utc())
            return erase(self.root, user)

    def requests_of(self, user: str) -> set[str]:
        """Ids of the requests that `erase` would erase: those of every purpose that name `user` as theirs."""
        from tunekeeper.store.log.erase import requests_of

        return requests_of(self.root, user)

    def unended(self) -> set[str] | None:
        """Ids of requests that were accepted and will still end: ask before `find`, and what is in neither does not exist.
        None where the spool changed under every look; ask again."""
        return self._reader.tail.unended()

    def known(self, request_ids: Sequence[str]) -> set[str]:
        """Which of these ids the log holds."""
        return self._reader.known(request_ids)

    def _rows_of(self, request_id: str) -> tuple[list[dict[str, Any]], Hot]:
        try:
            made = time_of(request_id)
        except (ValueError, OverflowError):
            made = None
        for since, until in _places(made):
            rows, hot = self._reader.one(request_id, since, until)
            if rows:
                break
        return rows, hot

    def _inferences(self, rows: list[dict[str, Any]], hot: Hot, bodies: bool) -> list[Inference]:
        rows = list({row["request_id"]: row for row in rows}.values())
        found = self._bodies(rows, hot) if bodies else {}
        return [inference(columns.values_of(row, METRIC_TYPES), *found.get(row["request_id"], (None, None))) for row in rows]

    def _bodies(self, rows: list[dict[str, Any]], hot: Hot) -> dict[str, Bodies]:
        found = {row["request_id"]: both for row in rows if (both := hot.bodies(row["request_id"])) is not None}
        missing = [row for row in rows if row["request_id"] not in found]
        places = {(row["timestamp"].isoformat()[:13], partitions.model_folder(row["model_id"])) for row in missing}

        def files() -> list[Path]:
            folders = [self.root / "log" / "bodies" / hour / model for hour, model in sorted(places)]
            return [folder / name for folder in folders for name in partitions.visible(folder)]

        return found | self._reader.bodies([row["request_id"] for row in missing], files)

    def _of_model(self, found: list[Feedback], model: str) -> list[Feedback]:
        unnamed = sorted({f.request_id for f in found if f.model_id is None})
        table, _ = self._reader.rows(Filter(model=model, request_ids=tuple(unnamed)))
        ours = set(table["request_id"].to_pylist())
        return [f for f in found if f.model_id == model or (f.model_id is None and f.request_id in ours)]


def _places(made: datetime | None) -> list[tuple[datetime | None, datetime | None]]:
    """Where to look for a request whose id was made at `made`, the likely place first."""
    if made is None:
        return [(None, None)]
    hour = made.replace(minute=0, second=0, microsecond=0)
    return [(hour, hour + timedelta(hours=1)), (hour - timedelta(hours=1), hour + timedelta(hours=2)), (None, None)]
