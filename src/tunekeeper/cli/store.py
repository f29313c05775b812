"""`tunekeeper store`: the databases and blobs of a data directory."""

from __future__ import annotations

from tunekeeper.cli import frame

app = frame.group("Databases and blobs: upgrade, verify.")


@app.command()
def upgrade(dir: frame.Dir = None, data: frame.Data = None, json: frame.Json = False, dry_run: frame.DryRun = False) -> int:
    """Bring the databases to this release's schema; an existing file is copied first.

    Example: tunekeeper store upgrade
    """
    from tunekeeper.store.schema import HEAD

    ws = frame.workspace(dir, data, create=data is not None and not dry_run)
    answer: dict[str, dict[str, str | None]] = {}
    for name, database in (("control", ws.control), ("state", ws.state)):
        before = database.version()
        copy = database.upgrade(dry_run=dry_run)
        answer[name] = {"from": before, "to": HEAD[name], "backup": None if copy is None else str(copy)}
    lines = [f"{name}: {_words(one['from'], HEAD[name], dry_run)}" for name, one in answer.items()]
    return frame.emit(answer, json, lines)


@app.command()
def verify(dir: frame.Dir = None, data: frame.Data = None, json: frame.Json = False) -> int:
    """Read both databases, every blob and every draft whole, and say what is damaged or missing (exit 1).

    Example: tunekeeper store verify
    """
    from tunekeeper.data import intact

    ws = frame.workspace(dir, data)
    databases = {"control": ws.control.damage(), "state": ws.state.damage()}
    blobs, damaged = ws.blobs.damaged()
    erased = ws.blobs.erased_lines()
    rows = intact.damage(ws)
    answer = {"databases": databases, "blobs": blobs, "damaged": damaged, "erased": erased, "data": rows}
    wrong = [f"{name}.db: {line}" for name, lines in databases.items() for line in lines]
    wrong += [f"blob {digest} has other bytes than its name says" for digest in damaged]
    wrong += rows
    wrong += ["next: put damaged lines of drafts right or take them out; else tunekeeper restore BACKUP"] if wrong else []
    whole = f"whole: both databases and {blobs} blobs" + (f"; {erased} lines of blobs were erased" if erased else "")
    return frame.emit(answer, json, wrong or [whole], code=1 if wrong else 0)


def _words(before: str | None, head: str, dry_run: bool) -> str:
    if before == head:
        return f"schema {head}, nothing to do"
    return f"{'would go' if dry_run else 'went'} from {'nothing' if before is None else f'schema {before}'} to schema {head}"
