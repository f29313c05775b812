"""`tunekeeper backup` and `tunekeeper restore`: a data directory as one file, and back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.store.restore import Restored
    from tunekeeper.workspace import Workspace

POSTGRES = "control and state live in PostgreSQL and are not in this backup: save them with pg_dump, first state, then control"


def backup(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE_OR_FOLDER", help="Where to (default: a dated name, here).")
    ] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Copy a data directory into one file, also while the gateway runs. The file holds its secrets.

    Example: tunekeeper backup --out /mnt/backups
    """
    from tunekeeper import __version__
    from tunekeeper.store import backup as store

    ws = frame.workspace(dir, data)
    with_databases = _has_files(ws)
    file = store.place(ws.root, out, ws.clock.utc())
    extra = [] if with_databases else [POSTGRES]
    if dry_run:
        return frame.emit({"file": file, "databases": with_databases, "dry_run": True}, json, [f"would write {file}", *extra])
    made = store.create(ws.root, file, ws.clock, product=__version__, databases=with_databases)
    contents = made.contents
    answer = {
        "file": made.file,
        "size": made.size,
        "files": contents.files,
        "bytes": contents.bytes,
        "digest": contents.digest,
        "schemas": contents.header.schemas,
        "created": contents.header.created,
        "databases": with_databases,
        "dry_run": False,
    }
    lines = [f"wrote {made.file}: {contents.files} files, {made.size:,} bytes", f"digest {contents.digest}", *extra]
    return frame.emit(answer, json, lines)


def restore(
    file: Annotated[Path, typer.Argument(help="What `tunekeeper backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Move what the target holds aside.")] = False,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Make a data directory out of a backup; --dry-run checks the whole file and writes nothing.

    Example: tunekeeper restore support-20260105T093000Z.tar.zst --dir support
    """
    from tunekeeper.core.clock import SystemClock
    from tunekeeper.store.restore import restore as put_back

    project = dir.absolute() if dir is not None else None
    target = data.absolute() if data is not None else (project or frame.find_project(None)) / frame.DATA_FOLDER
    done = put_back(file, target, SystemClock().utc(), force=force, dry_run=dry_run)
    contents = done.contents
    answer = {
        "target": done.target,
        "files": contents.files,
        "bytes": contents.bytes,
        "digest": contents.digest,
        "schemas": contents.header.schemas,
        "created": contents.header.created,
        "product": contents.header.product,
        "aside": done.aside,
        "erasures_undone": [erasure.unit for erasure in done.undone],
        "older": done.older,
        "dry_run": dry_run,
    }
    return frame.emit(answer, json, _lines(done, dry_run, "--data" if data is not None else "--dir"))


def _lines(done: Restored, dry_run: bool, option: str) -> list[str]:
    header = done.contents.header
    verb = "sound, would be restored to" if dry_run else "restored"
    where = shlex.quote(str(done.target if option == "--data" else done.target.parent))
    when = f"{header.created[:16].replace('T', ' ')} UTC"
    lines = [f"{verb} {done.target}: {done.contents.files} files of {when}", f"digest {done.contents.digest}"]
    if done.aside is not None:
        lines.append(f"what was there before lies in {done.aside}")
    if done.undone:
        units = ", ".join(erasure.unit for erasure in done.undone)
        verb = "would bring" if dry_run else "brought"
        again = f"tunekeeper log erase --user U {option} {where}"
        lines.append(f"WARNING: this {verb} back {len(done.undone)} erased users ({units}): {again}")
    if None in header.schemas.values():
        lines.append("control and state were in PostgreSQL: put them back with pg_restore")
    if option == "--dir" and not (done.target.parent / frame.PROJECT_FILE).exists():
        lines.append(f"not in it, put beside it: {frame.PROJECT_FILE}, models/, suites/ and the base models")
    if done.older:
        lines.append(f"next: tunekeeper store upgrade {option} {where}")
    return lines


def _has_files(ws: Workspace) -> bool:
    """Whether the databases are files of the data directory."""
    return ws.control.path is not None
