"""`tunekeeper show`: the whole chain behind an answer."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.visible import line


def show(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="A request (req_…), version, run, dataset, exam, rollout, cycle or incident.")
    ],
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """A record with its provenance: request, version, artifact, exam, run, dataset, nearest examples, reviewers.

    Example: tunekeeper show req_01KE9Z0S3XJ5N4Q8R7T6V5W4Y3a1b2
    """
    from tunekeeper.provenance import trace

    chain = trace(frame.workspace(dir, data), id)
    width = max(len(link.kind) for link in chain)
    lines = [line(f"{link.kind:<{width}}  {' '.join(part for part in (link.id, link.summary) if part)}") for link in chain]
    return frame.emit({"id": id, "chain": chain}, json, lines)
