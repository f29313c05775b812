"""What runs in the child of a training by command: somebody's trainer, whose PEFT folder is taken over once it fits our base."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, MissingExtra, UserError
from tunekeeper.training.base import read_base
from tunekeeper.training.outside import admit
from tunekeeper.training.rows import read_rows
from tunekeeper.training.workfolder import ADAPTER, Context

OUT = "out"
RECIPE = "recipe.json"
_NAME = re.compile(r"\{(data|eval|out|base|recipe)\}")


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Run the command without a shell and take the adapter that it leaves in {out}, or in one folder below it.

    `input`: command (words), base (folder), base_digest, train and eval (JSONL), recipe. The command's own output is the job's.
    Returns rows, seconds, loss (empty: no trainer tells it the same way); leaves `adapter/`. Raises UserErrors, MissingExtra.
    """
    base = read_base(Path(input["base"]))
    base.refuse_changed(input, "the run")
    out = context.work / OUT
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    (context.work / RECIPE).write_text(json.dumps(input["recipe"], indent=2, sort_keys=True) + "\n", "utf-8")
    places = {
        "data": input["train"],
        "eval": input["eval"] or "",
        "out": str(out),
        "base": str(base.folder),
        "recipe": str(context.work / RECIPE),
    }
    words = [_NAME.sub(lambda found: places[found[1]], word) for word in input["command"]]
    rows = len(read_rows(Path(input["train"])))
    began = time.monotonic()
    context.progress(None, note=f"{Path(words[0]).name} trains on {rows} rows")
    _obeyed(words, context.work.parent / "output.log")
    admit(_adapter(out), context.work / ADAPTER, base)
    shutil.rmtree(out, ignore_errors=True)
    return {
        "adapter": ADAPTER,
        "loss": [],
        "final_loss": None,
        "eval_loss": [],
        "rows": rows,
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time(),
        "tokens_per_second": None,
        "machine": {"command": Path(words[0]).name},
        "whereabouts": {"trained_by": Path(words[0]).name},
    }


def _obeyed(words: list[str], log: Path) -> None:
    """Run the command; `log`: where what it says goes."""
    try:
        ended = subprocess.run(words, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError as error:
        raise MissingExtra(f"training.backend_options.command: {words[0]} is not installed", fix=f"install {words[0]}") from error
    except OSError as error:
        raise UserError(f"training.backend_options.command: {words[0]} cannot be run: {error.strerror}") from error
    if ended.returncode != 0:
        how = f"by signal {-ended.returncode}" if ended.returncode < 0 else f"with status {ended.returncode}"
        raise UserError(f"{Path(words[0]).name} ended {how}", fix=f"read what it said: {log}")


def _adapter(out: Path) -> Path:
    """The one folder with an adapter: {out} itself, else the only one below it; of checkpoints beside it nothing is taken."""
    if (out / "adapter_config.json").is_file():
        return out
    found = sorted(path.parent for path in out.rglob("adapter_config.json"))
    final = [folder for folder in found if not folder.name.startswith("checkpoint-")] or found
    if len(final) != 1:
        raise ArtifactError(
            f"the command left {len(final)} adapters in {{out}}", fix="have it save exactly one PEFT folder there"
        )
    return final[0]
