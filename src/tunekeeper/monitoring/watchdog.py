"""Silence is noticed: an alert when nothing is heard of a live model (FIX-17, ALRT-05). Pure decision, thin edge."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tunekeeper.core.nouns.monitoring import Alert
from tunekeeper.monitoring.baseline import live_version
from tunekeeper.monitoring.config import Config
from tunekeeper.notify import queue
from tunekeeper.store.database import Lease
from tunekeeper.store.ledgers.alerts import find_alerts, save_alert
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.workspace import Workspace

RULE = "FIX-17"


def silence(last_request: datetime | None, live_since: datetime | None, now: datetime, hours: float) -> str | None:
    """One sentence when a live model has heard nothing for `hours`; None while it is fine or nothing is live."""
    if live_since is None:
        return None
    heard = max(last_request or live_since, live_since)
    quiet = now - heard
    if quiet < timedelta(hours=hours):
        return None
    return f"no request for {quiet.total_seconds() / 3600:.0f} h: the numbers say nothing about today"


def check_silence(ws: Workspace, model: str, config: Config, *, lease: Lease | None = None) -> Alert | None:
    """Fire or resolve the silence alert of a model; returns it while it fires."""
    if live_version(ws, model) is None:
        return None
    now = ws.clock.utc()
    newest = ws.log.find(model=model, since=now - timedelta(hours=config.silent_hours), limit=1, bodies=False, newest_first=True)
    with ws.control.read() as tx:
        lines = [line.created for line in find_promotions(tx, model=model) if line.created is not None]
    reason = silence(newest[0].timestamp if newest else None, max(lines, default=None), now, config.silent_hours)
    with ws.state.read() as tx:
        firing = next((each for each in find_alerts(tx, model=model, state="firing") if each.rule == RULE), None)
    if (reason is None) == (firing is None):
        return firing
    with ws.state.write(by="monitoring", lease=lease) as write:
        if reason is None and firing is not None:
            save_alert(write, replace(firing, state="resolved", until=now))
            return None
        alert = Alert(id=ws.new_id("alr"), model=model, rule=RULE, severity="critical", reason=reason or "", since=now)
        queue(write, kind="alert", subject=f"{model}: monitoring hears nothing", text=alert.reason, id=alert.id)
        return save_alert(write, alert)
