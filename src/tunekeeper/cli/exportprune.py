"""`tunekeeper export prune`: remove the merged checkpoints that nothing serves any more."""

from __future__ import annotations

from tunekeeper.cli import frame

app = frame.group("Free what exports left behind.")


@app.command("prune")
def prune(model: frame.Model, dry_run: frame.DryRun = False, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Remove the merged checkpoints of versions that no slot holds, and say what that frees; they are made again when needed.

    Example: tunekeeper export prune --model support-desk --dry-run
    """
    from tunekeeper.deployment import pruning

    ws, config = frame.project(dir)
    found = config.model(model)
    folders = pruning.prune(ws, found.task, found.sections["deployment"], dry_run=dry_run)
    freed = sum(each.bytes for each in folders if each.removed)
    gone = sum(each.removed for each in folders)
    lines = [f"{'would free' if dry_run else 'freed'} {freed / 1e6:,.1f} MB: {gone} of {len(folders)} merged folders"]
    lines += [f"{'removed' if each.removed else 'kept'} {each.path} ({each.bytes / 1e6:,.1f} MB): {each.why}" for each in folders]
    return frame.emit({"freed": freed, "folders": folders, "dry_run": dry_run}, json, lines)
