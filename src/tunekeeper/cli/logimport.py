"""`tunekeeper log import`: records of models that were served elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.core.nouns.serving import Inference
    from tunekeeper.store.log.keeping import Keeping, Survey
    from tunekeeper.store.log.mapped import Told
    from tunekeeper.workspace import Workspace

app = frame.group("Records from elsewhere.")
_MOST_KEYS = 12
"""Keys that one line names."""


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="Inferences with at least request_id, timestamp and model_id: JSONL, a JSON list (also .gz), CSV, Parquet, XLSX."
        ),
    ],
    map: Annotated[
        list[str] | None,
        typer.Option("--map", help="field=COLUMN, e.g. timestamp=startTime; also usage.input, latency*1000, endTime-startTime."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model that every record is of, whatever the rows say.")
    ] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Add records of models that were served elsewhere, personal data taken out; a record that the log knows is skipped.

    What is older than the log is kept is counted: a keeper that runs would drop it at once, so it is left out then.

    Example: tunekeeper log import spend.csv --model desk --map timestamp=startTime --map cost_usd=spend
    """
    from tunekeeper.data.redacting import clean_inference
    from tunekeeper.store.log import keeping
    from tunekeeper.store.log.mapped import told

    source = _Source(path=file, mapping=told(map or (), model))
    ws = frame.workspace(dir, data, create=data is not None and not dry_run)
    now, running, bounds = ws.clock.utc(), keeping.at_work(ws.root), _bounds(ws, dir, data)
    found = keeping.survey(source.read(), bounds, now)  # all of it is read first: a broken line imports nothing
    answer: dict[str, Any] = {"rows": found.rows, "added": 0, "skipped": 0, "left_out": 0, "dry_run": dry_run}
    answer |= {"past_days": found.past_days, "past_body_days": found.past_body_days, "ahead": found.ahead}
    answer["passed_over"] = source.passed_over()
    lines = [f"{file}: {found.rows} inferences"]
    if not dry_run:
        taken = keeping.kept(source.read(), bounds, now) if running else source.read()
        added, skipped = ws.log.append_import(clean_inference(each) for each in taken)
        answer |= {"added": added, "skipped": skipped, "left_out": found.past_days if running else 0}
        lines = [f"added {added} of {found.rows} inferences, {skipped} were known"]
    told_too = [*_not_taken(answer["passed_over"]), *_too_old(found, bounds, running), *_ahead(found)]
    return frame.emit(answer, json, [*lines, *told_too])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A file of somebody's log."""

    path: Path
    mapping: Told

    @property
    def is_table(self) -> bool:
        from tunekeeper.data.tables import KINDS

        return self.path.suffix.casefold() in KINDS and self.path.is_file()

    def read(self) -> Iterator[Inference]:
        """Its inferences, once."""
        from tunekeeper.store.log.imports import read_file, read_rows

        if not self.is_table:
            return read_file(self.path, self.mapping)
        return read_rows(self._rows(), self.path, self.mapping)

    def passed_over(self) -> list[str]:
        """Its columns that nothing takes."""
        from tunekeeper.store.log.imports import passed_over

        if not self.is_table:
            return passed_over(self.path, self.mapping)
        return self.mapping.left(list(next((row for _, row in self._rows()), {})))

    def _rows(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        from tunekeeper.core.errors import DataError
        from tunekeeper.data.tables import opened_table

        with opened_table(self.path, str(self.path), self.path.suffix.casefold()) as table:
            for row in table.rows:
                if row.trouble:
                    raise DataError(f"{self.path}:{row.line}: {row.trouble}", fix="mend the row, or take it out")
                yield row.line, row.cells


def _bounds(ws: Workspace, dir: Path | None, data: Path | None) -> Keeping:
    """How long the log is kept: by the keeper that runs, else by the file of the project, else as the last keeper did."""
    from tunekeeper.config.project import LogConfig
    from tunekeeper.store.log import keeping

    noted = keeping.noted(ws.root)
    if noted is not None and (data is not None or keeping.at_work(ws.root)):
        return noted
    log = LogConfig() if data is not None else frame.project(dir)[1].log
    return keeping.Keeping(days=log.days, body_days=log.body_days)


def _not_taken(keys: list[str]) -> list[str]:
    """Keys of a file that no field of an inference takes, each with the field that may be meant."""
    import dataclasses
    import difflib

    from tunekeeper.core.nouns.serving import Inference

    names = [field.name for field in dataclasses.fields(Inference)]
    near = {key: difflib.get_close_matches(key, names, 1) for key in keys[:_MOST_KEYS]}
    said = [f"{key} (did you mean {found[0]}?)" if found else key for key, found in near.items()]
    more = [f"{len(keys) - _MOST_KEYS} more"] if len(keys) > _MOST_KEYS else []
    return [f"passed over, as no field of an inference has the name: {', '.join([*said, *more])}"] if keys else []


def _too_old(found: Survey, bounds: Keeping, running: bool) -> list[str]:
    """What of a file the log does not keep, and what to do."""
    fate = "were left out" if running else "go once `up` or `serve` runs"
    raised = "in tunekeeper.yaml or the file of `serve`, start it again, then import"
    lines = []
    if found.past_days:
        lines.append(
            f"{found.past_days} {fate}: the log keeps records {bounds.days:g} days; to keep them raise log.days {raised}"
        )
    if found.past_body_days:
        bound = f"{found.past_body_days} keep their numbers only: the log keeps texts {bounds.body_days:g} days"
        lines.append(f"{bound}; to keep them raise log.body_days {raised}")
    return lines


def _ahead(found: Survey) -> list[str]:
    """What of a file lies in the future, and what that means."""
    if found.latest is None:
        return []
    what = f"{found.ahead} lie ahead of now, up to {found.latest:%Y-%m-%d %H:%M} UTC"
    return [f"{what}: windows end now and leave them out until then; a timestamp without a zone is taken as UTC"]
