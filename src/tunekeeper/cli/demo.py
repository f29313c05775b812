"""`tunekeeper demo`: the whole loop, offline, in minutes."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from tunekeeper.cli import frame, interrupts
from tunekeeper.core.errors import MissingExtra

NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors", "gguf", "xllamacpp", "openai")
"""What the demo's parts need of the extras `train`, `local` and `demo`."""


def demo(
    folder: Annotated[Path | None, typer.Argument(help="Folder to make the demo project in (default: demo-project).")] = None,
    yes: frame.Yes = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a demo that was cut off.")] = False,
    json: frame.Json = False,
) -> int:
    """Play the whole loop on a tiny model: data, training, gate, deployment, drift, retraining, canary, rollback.

    Example: tunekeeper demo my-demo
    """
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        what = f"the demo runs on real parts, and these are not installed: {', '.join(lacking)}"
        raise MissingExtra(what, fix="pip install 'tunekeeper[train,local,demo]'")
    from tunekeeper.demo import ask, one_screen
    from tunekeeper.demo import demo as play
    from tunekeeper.demo.run import DEFAULT_FOLDER

    interrupts.sigterm_too()  # the servers that a demo started end with it
    asked = not yes and sys.stdin.isatty() and sys.stderr.isatty()
    played = play(folder or Path(DEFAULT_FOLDER), resume=resume, consent=ask if asked else None)
    here = shlex.quote(str(played.folder))
    look = [
        "",
        f"  report: {played.report}",
        f"  look further: tunekeeper status --dir {here}",
        f"                tunekeeper show REQUEST_ID --dir {here}   (ids: tunekeeper log ls --dir {here})",
        f"                tunekeeper up --dir {here}",
    ]
    return frame.emit(played.figures, json, [*one_screen(played.figures), *look])
