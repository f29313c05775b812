"""The day-one baseline of a version: captured once, when enough users were answered (MON-09)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.monitoring import Baseline
from tunekeeper.core.nouns.serving import Route
from tunekeeper.monitoring.config import Config
from tunekeeper.monitoring.measure import Window, features_of, noise_of, numbers
from tunekeeper.store.ledgers.baselines import find_baselines, save_baseline
from tunekeeper.store.ledgers.datasets import load_dataset
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.workspace import Workspace


def live_version(ws: Workspace, model: str) -> str | None:
    """Name of the version that answers users by default; None when nothing is live."""
    with ws.control.read() as tx:
        try:
            route: Route = load_route(tx, model)
        except NotFound:
            return None
        return next((slot.version for slot in find_slots(tx, model=model) if slot.id == route.champion), None)


def ensure_baseline(ws: Workspace, model: str, config: Config, format_spec: Mapping[str, Any]) -> Baseline | None:
    """The live version's baseline, captured now when its first requests are in; None while there are too few."""
    version = live_version(ws, model)
    if version is None:
        return None
    with ws.state.read() as tx:
        found = [each for each in find_baselines(tx, model=model, newest_first=True) if each.version == version]
    if found:
        return found[0]
    with ws.control.read() as tx:
        lines = [line for line in find_promotions(tx, model=model) if line.version == version and line.kind == "promotion"]
    if not lines:
        return None
    since = max(line.created for line in lines if line.created is not None)
    inferences = ws.log.find(model=model, since=since, version=version, limit=config.baseline_requests)
    if len(inferences) < config.baseline_requests:
        return None
    ids = [each.request_id for each in inferences]
    feedback = ws.log.feedback(model=None, since=since, request_ids=ids)
    measured = numbers(Window(inferences=inferences, feedback=feedback, reviews=()), format_spec, None)
    features = features_of(inferences, learned_questions(ws, model, version))
    noise = {f"{name}_noise": value for name, value in noise_of(inferences, features).items()}
    baseline = Baseline(
        id=ws.new_id("bas"),
        model=model,
        version=version,
        since=since,
        until=inferences[-1].timestamp,
        n=len(inferences),
        values={**{number.name: number.value for number in measured if number.value is not None}, **noise},
        features=features,
    )
    with ws.state.write(by="monitoring") as write:
        again = [each for each in find_baselines(write, model=model) if each.version == version]
        return again[0] if again else save_baseline(write, baseline)


def learned_questions(ws: Workspace, model: str, version: str) -> list[str]:
    """What the users asked in the rows that a version learned; empty for a version without a dataset."""
    with ws.state.read() as tx:
        made = next((each for each in find_versions(tx, model=model) if each.name == version), None)
        dataset = load_dataset(tx, made.dataset) if made is not None and made.dataset else None
    if dataset is None or dataset.manifest is None:
        return []
    rows = map(json.loads, ws.rows.lines(dataset.manifest, "train"))
    asked = (message.get("content") for row in rows for message in row["messages"] if message.get("role") == "user")
    return [text for text in asked if isinstance(text, str)]
