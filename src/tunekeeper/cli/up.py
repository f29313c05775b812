"""`tunekeeper up` and `tunekeeper down`."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekeeper.cli import events, frame


def up(
    dir: frame.Dir = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on, in place of the file's.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port, in place of the file's; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Gateway processes, in place of the file's.")] = None,
    json: frame.Json = False,
) -> int:
    """Run gateway, worker and model servers until Ctrl-C; with --json it prints event lines, first {"event": "ready", …}.

    Model servers that are not loaded yet are named there under "loading"; {"event": "loaded", …} follows for each.

    Example: tunekeeper up --dir support --port 8080
    """
    from tunekeeper.processes import plans

    folder = frame.find_project(dir)
    flags = {"gateway.host": host, "gateway.port": port, "gateway.workers": workers}
    code: int = plans.up(folder, say=events.ready_first() if json else events.as_text, flags=flags)
    return code


def down(dir: frame.Dir = None, data: frame.Data = None, dry_run: frame.DryRun = False, json: frame.Json = False) -> int:
    """Stop everything that runs on a project, also what a killed `up` left behind.

    Example: tunekeeper down --dir support
    """
    from tunekeeper.processes import ending

    root = data.absolute() if data is not None else frame.find_project(dir) / frame.DATA_FOLDER
    if dry_run:
        found: list[dict[str, object]] = [
            {"name": name, "pid": pid, "killed": False} for name, pid in ending.running(root).items()
        ]
        would = [f"would stop {each['name']} ({each['pid']})" for each in found]
        return frame.emit({"stopped": [], "running": found}, json, would or ["nothing is running"])
    ended = ending.down(root)
    lines = [f"stopped {each['name']} (process {each['pid']}{', killed' if each['killed'] else ''})" for each in ended]
    return frame.emit({"stopped": ended}, json, lines or ["nothing was running"])
