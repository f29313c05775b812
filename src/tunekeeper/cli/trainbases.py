"""`tunekeeper train bases`: checkpoints beside each other, to choose a base from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.trainplan import Recipe

if TYPE_CHECKING:
    from tunekeeper.training.bases import Candidate

app = frame.group("Choose a base.")


@app.command("bases")
def bases(
    folders: Annotated[list[Path], typer.Argument(help="Checkpoint folders.", metavar="FOLDER...")],
    data: Annotated[Path, typer.Option("--data", help="Chat JSONL that it shall learn.")],
    recipe: Recipe = None,
    on: Annotated[str | None, typer.Option("--on", help="For another machine: gpu:24 or cpu:36, gigabytes.")] = None,
    json: frame.Json = False,
) -> int:
    """Compare checkpoints by what they make of the data and by what this machine can train; exit 1 where none can be trained.

    Example: tunekeeper train bases llama-3.2-1b qwen2.5-1.5b --data rows.jsonl
    """
    from tunekeeper.training import device
    from tunekeeper.training.bases import compared
    from tunekeeper.training.config import Config
    from tunekeeper.training.recipe import read_changes, resolve
    from tunekeeper.training.rows import read_rows

    chosen = resolve(Config(), read_changes(recipe) if recipe else None)
    there = device.room() if on is None else device.imagined(on)
    found = compared(folders, read_rows(data), chosen, there)
    header = ("base", "family", "parameters", "context", "licence", "tools", "tokens a row", "too long", "LoRA", "fits")
    lines = frame.table([_row(each) for each in found if each.problem is None], header)
    lines += [each.problem for each in found if each.problem is not None]
    lines.append(f"on {there.device}, {there.total / 1e9:,.1f} GB; which one answers best an exam says")
    return frame.emit({"bases": found, "device": there.device}, json, lines, code=0 if any(each.fits for each in found) else 1)


def _row(each: Candidate) -> tuple[object, ...]:
    return (
        Path(each.folder).name,
        each.family,
        f"{each.parameters:,}",
        each.context,
        each.license,
        "yes" if each.tools else "no",
        None if each.tokens_a_row is None else round(each.tokens_a_row, 1),
        each.too_long,
        None if each.lora_bytes is None else f"{each.lora_bytes / 1e9:,.2f} GB",
        ", ".join(each.fits) or "nothing",
    )
