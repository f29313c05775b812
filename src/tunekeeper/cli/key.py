"""`tunekeeper key`: keys for the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tunekeeper.core.nouns.serving import ApiKey

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
    rate: Annotated[int | None, typer.Option("--rate", help="Most requests in a minute.")] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens-per-minute", help="Most tokens in a minute, of prompts and answers.")
    ] = None,
    concurrent: Annotated[int | None, typer.Option("--concurrent", help="Most requests under way at once.")] = None,
    budget: Annotated[float | None, typer.Option("--budget", help="Most USD of answers in a budget period.")] = None,
    period: Annotated[str, typer.Option("--budget-period", help="day or month (UTC).")] = "month",
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Make a key and show it, once.

    A limit that is left out does not exist. A budget counts what answers cost by the prices of their slots.

    Example: tunekeeper key create --scope infer --scope feedback --name website --rate 60 --budget 5
    """
    from tunekeeper import gateway
    from tunekeeper.gateway.keys import check_key, check_models

    if model:
        check_models(model, _known(dir, data))
    scopes = [part for text in scope or ["infer"] for part in text.split(",") if part]
    if dry_run:
        bounds = {"requests_per_minute": rate, "tokens_per_minute": tokens, "concurrent": concurrent, "budget_usd": budget}
        check_key(scopes=scopes, name=name, days=days or None, bounds=bounds, budget_period=period)
        would = {"scopes": scopes, "models": model or [], "days": days or None, **bounds, "budget_period": period}
        return frame.emit({**would, "dry_run": True}, json, [f"would make a key for {', '.join(scopes)}"])
    ws = frame.workspace(dir, data, create=True)
    made = gateway.create_key(
        ws,
        scopes=scopes,
        models=model or (),
        name=name,
        days=days or None,
        requests_per_minute=rate,
        tokens_per_minute=tokens,
        concurrent=concurrent,
        budget_usd=budget,
        budget_period=period,
        by=frame.user(),
    )
    return frame.emit(made, json, [f"{made.id}: {made.key}", "It is shown once: keep it now."])


def _known(dir: Path | None, data: Path | None) -> set[str]:
    """The models that a key can be for: those of the project, and those that have a route."""
    from tunekeeper.gateway.keys import routed_models

    if data is None:
        ws, project = frame.project(dir)
        return set(project.models) | routed_models(ws)
    return routed_models(frame.workspace(None, data)) if (data / "control.db").exists() else set()


@app.command("ls")
def list_(dir: frame.Dir = None, data: frame.Data = None, json: frame.Json = False) -> int:
    """List the keys.

    Example: tunekeeper key ls
    """
    from tunekeeper import gateway

    ws = frame.workspace(dir, data)
    keys, now = gateway.find_keys(ws), ws.clock.utc()
    shown = [
        {
            "id": key.id,
            "name": key.name,
            "scopes": key.scopes,
            "models": key.models,
            "expires": key.expires,
            "revoked": key.revoked,
            "requests_per_minute": key.requests_per_minute,
            "tokens_per_minute": key.tokens_per_minute,
            "concurrent": key.concurrent,
            "budget_usd": key.budget_usd,
            "budget_period": key.budget_period if key.budget_usd is not None else None,
            "created": key.created,
        }
        for key in keys
    ]
    rows = [
        (
            key.id,
            key.name,
            ",".join(key.scopes),
            ",".join(key.models) or "all",
            _limits(key) or "none",
            _day(key),
            _state(key, now),
        )
        for key in keys
    ]
    header = ("id", "name", "scopes", "models", "limits", "expires", "state")
    return frame.emit({"keys": shown}, json, frame.table(rows, header) if rows else ["no key yet: tunekeeper key create"])


def _day(key: ApiKey) -> str:
    return "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"


def _state(key: ApiKey, now: datetime) -> str:
    over = key.expires is not None and key.expires <= now
    return "revoked" if key.revoked else "expired" if over else "live"


def _limits(key: ApiKey) -> str:
    parts = (
        (key.requests_per_minute, "requests/min"),
        (key.tokens_per_minute, "tokens/min"),
        (key.concurrent, "at once"),
        (key.budget_usd, f"USD/{key.budget_period}"),
    )
    return ", ".join(f"{bound:g} {unit}" if isinstance(bound, float) else f"{bound} {unit}" for bound, unit in parts if bound)


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
    from tunekeeper.gateway.keys import check_revocable

    ws = frame.workspace(dir, data)
    if dry_run:
        check_revocable(ws, id)
        return frame.emit({"id": id, "dry_run": True}, json, [f"would revoke {id}"])
    key = gateway.revoke_key(ws, id, by=frame.user())
    return frame.emit({"id": key.id, "revoked": key.revoked}, json, [f"{key.id} is revoked"])
