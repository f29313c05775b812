"""`tunekeeper serve`: the gateway alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunekeeper.cli import events, frame
from tunekeeper.core.errors import UserError


def serve(
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Models, slots and first routes.")] = None,
    routing: Annotated[Path | None, typer.Option("--routing", metavar="FILE", help="Two-slot file with active_slot.")] = None,
    model: Annotated[str | None, typer.Option("--as", metavar="MODEL", help="Name that --routing serves.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Gateway processes.")] = 1,
    data: frame.Data = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Run the gateway alone from a file; prints event lines in JSON, first {"event": "ready", …}; --json changes nothing.

    Example: tunekeeper serve --config gateway.yaml --port 8080
    """
    from tunekeeper.processes import plans

    del json  # the events are JSON lines either way, and every command takes the option
    if (config is None) == (routing is None):
        raise UserError("serve needs one file", fix="tunekeeper serve --config FILE, or --routing FILE --as MODEL")
    if routing is not None and not model:
        raise UserError("--routing needs the name of the model", fix=f"tunekeeper serve --routing {routing} --as MODEL")
    named = config or routing
    if named is not None and dir is not None and not named.is_absolute():
        config, routing = (dir / config if config else None), (dir / routing if routing else None)
    asked = plans.Serving(config=config, routing=routing, model=model, host=host, port=port, workers=workers, data=data)
    code: int = plans.serve(asked, say=events.ready_first())
    return code
