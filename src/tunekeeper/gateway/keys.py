"""Keys for the gateway: made, listed, revoked. The key itself is shown once and never kept."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.ids import new_id
from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.auth import SCOPES, hash_key, new_key
from tunekeeper.workspace import Workspace

DAYS = 90
MOST = 1_000_000_000
"""Largest limit of each kind."""
MOST_DAYS = 36_500
"""Longest life of a key that ends at all."""
MOST_NAME = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey:
    """A key at the one moment it is known."""

    id: str
    """`key_…`."""
    key: str
    """What a client sends."""


def create_key(
    ws: Workspace,
    *,
    scopes: Sequence[str] = ("infer",),
    models: Sequence[str] = (),
    name: str = "",
    days: float | None = DAYS,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    concurrent: int | None = None,
    budget_usd: float | None = None,
    budget_period: str = "month",
    by: str = "cli",
    entropy: Callable[[int], bytes] = os.urandom,
) -> NewKey:
    """Make a key; it works in every gateway worker when this returns, and from the first one on keys are asked for.

    `scopes`: some of infer, feedback, metrics, admin. `models`: what it may call; empty: all. `days`: until it expires; None:
    never. The other limits as of `ApiKey`; None: none. Raises as `check_key`.
    """
    bounds = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent": concurrent,
        "budget_usd": budget_usd,
    }
    check_key(scopes=scopes, name=name, days=days, bounds=bounds, budget_period=budget_period)
    from tunekeeper.store.ledgers.keys import save_key

    now = ws.clock.utc()
    secret = new_key(entropy)
    key = ApiKey(
        id=new_id("key", now, entropy),
        hash=hash_key(secret, ws.pepper()),
        name=name,
        scopes=tuple(dict.fromkeys(scopes)),
        models=tuple(models),
        expires=None if days is None else now + timedelta(days=days),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent=concurrent,
        budget_usd=budget_usd,
        budget_period="day" if budget_period == "day" else "month",
    )
    with ws.control.write(by=by) as tx:
        save_key(tx, key)
    _publish(ws, by)
    return NewKey(id=key.id, key=secret)


def check_key(
    *, scopes: Sequence[str], name: str, days: float | None, bounds: Mapping[str, float | None], budget_period: str
) -> None:
    """Whether such a key can be made; `bounds`: limit → value. Raises UserError for an unknown scope, a name that no table can
    show, and a life or a limit out of range: what is not above 0 would be a key that can do nothing."""
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        raise UserError(f"no scope is called {wrong[0] if wrong else ''!r}", fix=f"choose from {', '.join(SCOPES)}")
    if len(name) > MOST_NAME or not name.isprintable():
        raise UserError(f"{name[:40]!r} cannot name a key", fix=f"use at most {MOST_NAME} letters, signs and spaces")
    if days is not None and not 0 < days <= MOST_DAYS:
        raise UserError(f"a key cannot last {days:g} days", fix=f"give a number above 0 and at most {MOST_DAYS}, or 0 for ever")
    for limit, bound in bounds.items():
        if bound is not None and not 0 < bound <= MOST:
            raise UserError(f"{limit} cannot be {bound}", fix=f"give a number above 0 and at most {MOST}, or leave it out")
    if budget_period not in ("day", "month"):
        raise UserError(f"a budget cannot be for a {budget_period}", fix="choose day or month")


def check_models(models: Sequence[str], known: Collection[str]) -> None:
    """Whether a key for `models` can call each of them. `known`: the models that there are; none: it is not known yet, as before
    the first `serve`, which may need a key to begin. Raises NotFound with the near name, UserError for an empty one: such a key
    would be refused everywhere.
    """
    if "" in models:
        raise UserError("a key for a model without a name could call nothing", fix="write --model NAME, or leave it out")
    for name in models if known else ():
        if name not in known:
            near = difflib.get_close_matches(name.partition("@")[0], known, 1)
            fix = f"write {near[0]!r}" if near else "add that model first, or leave --model out for a key that calls all"
            raise NotFound(f"no model is called {name[:128]!r}; known: {', '.join(sorted(known))}", fix=fix)


def routed_models(ws: Workspace) -> set[str]:
    """The models that have a route."""
    from tunekeeper.store.ledgers.routes import load_route_table

    with ws.control.read() as tx:
        return set(load_route_table(tx).routes)


def check_revocable(ws: Workspace, id: str) -> None:
    """Raises as `revoke_key` would; changes nothing."""
    from tunekeeper.store.ledgers.keys import load_key

    with ws.control.read() as tx:
        load_key(tx, id)


def revoke_key(ws: Workspace, id: str, *, by: str = "cli") -> ApiKey:
    """Withdraw a key; no worker accepts it when this returns. Raises NotFound."""
    from tunekeeper.store.ledgers.keys import load_key, save_key

    with ws.control.write(by=by) as tx:
        key = load_key(tx, id)
        if not key.revoked:
            key = save_key(tx, dataclasses.replace(key, revoked=True))
    _publish(ws, by)
    return key


def find_keys(ws: Workspace, *, live: bool = False) -> list[ApiKey]:
    """The keys, oldest first; `live`: only those not revoked."""
    from tunekeeper.store.ledgers.keys import find_keys as find

    with ws.control.read() as tx:
        return find(tx, state="live" if live else None)


def _publish(ws: Workspace, by: str) -> None:
    """Publish what is committed and wait for the workers."""
    from tunekeeper.store.published import barrier
    from tunekeeper.store.publishing import publish_newest

    barrier(ws.root, publish_newest(ws.control, ws.root, by=by))
