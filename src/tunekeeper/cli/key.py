"""`tunekeeper key`: keys for the gateway."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from tunekeeper.cli import frame

app = frame.group("Keys for the gateway.")


@app.command()
def create(
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="infer, feedback, metrics or admin; may be repeated.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may call; may be repeated (default: all).")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What you call it.")] = "",
    days: Annotated[float, typer.Option("--days", help="Days until it expires; 0: never.")] = 90,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Make a key and show it, once.

    Example: tunekeeper key create --scope infer --scope feedback --name website
    """
    from tunekeeper import gateway

    scopes = [part for text in scope or ["infer"] for part in text.split(",") if part]
    if dry_run:
        would = {"scopes": scopes, "models": model or [], "days": days or None, "dry_run": True}
        return frame.emit(would, json, [f"would make a key for {', '.join(scopes)}"])
    ws = frame.workspace(dir, data, create=True)
    made = gateway.create_key(ws, scopes=scopes, models=model or (), name=name, days=days or None, by=getpass.getuser())
    return frame.emit(made, json, [f"{made.id}: {made.key}", "It is shown once: keep it now."])


@app.command("ls")
def list_(dir: frame.Dir = None, data: frame.Data = None, json: frame.Json = False) -> int:
    """List the keys.

    Example: tunekeeper key ls
    """
    from tunekeeper import gateway

    keys = gateway.find_keys(frame.workspace(dir, data))
    shown = [
        {
            "id": key.id,
            "name": key.name,
            "scopes": key.scopes,
            "models": key.models,
            "expires": key.expires,
            "revoked": key.revoked,
            "created": key.created,
        }
        for key in keys
    ]
    rows = [[key.id, key.name, ",".join(key.scopes), key.expires, "revoked" if key.revoked else "live"] for key in keys]
    return frame.emit({"keys": shown}, json, frame.table(rows, ["id", "name", "scopes", "expires", "state"]))


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(help="Id of the key.")],
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Withdraw a key at once.

    Example: tunekeeper key revoke key_01J…
    """
    from tunekeeper import gateway

    ws = frame.workspace(dir, data)
    if dry_run:
        known = next((each for each in gateway.find_keys(ws) if each.id == id), None)
        return frame.emit({"id": id, "known": known is not None, "dry_run": True}, json, [f"would revoke {id}"])
    key = gateway.revoke_key(ws, id, by=getpass.getuser())
    return frame.emit({"id": key.id, "revoked": key.revoked}, json, [f"{key.id} is revoked"])
