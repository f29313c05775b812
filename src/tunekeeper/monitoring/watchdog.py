"""What no window of requests can show: silence of a live model (FIX-17, ALRT-05), a filling disk before the log stops (T03), a
routing file that is not obeyed (BG-04). Pure decision, thin edge."""

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
from tunekeeper.store.refusedfile import RefusedFile, refused
from tunekeeper.store.reserve import Measure, reserved
from tunekeeper.store.space import Level, Space, level_of, measure
from tunekeeper.workspace import Workspace

RULE = "FIX-17"
ROOM_RULE = "T03"
FILE_RULE = "BG-04"


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
    return _set(ws, model, RULE, reason, f"{model}: monitoring hears nothing", lease)


def shortage(space: Space, level: Level) -> str | None:
    """One sentence when room is short on the data directory's disk, with what is given up for it; None while there is enough."""
    if level is Level.OK:
        return None
    given_up = {
        Level.LOW: "nothing yet",
        Level.NO_BODIES: "bodies are not logged",
        Level.NO_SHADOW: "bodies are not logged, no shadow copies are sent",
        Level.FULL: "requests are refused",
    }
    return f"the data directory's disk is {space.used:.0%} full, {space.free >> 20} MB are left: {given_up[level]}"


def check_room(ws: Workspace, model: str, *, lease: Lease | None = None, measure: Measure = measure) -> Alert | None:
    """Fire or resolve the alert of a filling disk under a model's log; returns it while it fires. `measure`: asks the disk."""
    space = measure(ws.root)
    level = level_of(space)
    if level is not Level.OK:
        level = level_of(space, level, reserved=reserved(ws.root))
    return _set(ws, model, ROOM_RULE, shortage(space, level), f"{model}: the disk is filling up", lease)


def disobeyed(note: RefusedFile | None) -> str | None:
    """One sentence about a routing file whose routes are not in force; None when they are."""
    if note is None:
        return None
    return f"{note.why}; the routes of before stay in force since {note.since:%Y-%m-%d %H:%M}"


def check_routing(ws: Workspace, model: str, *, lease: Lease | None = None) -> Alert | None:
    """Fire or resolve the alert of a routing file that cannot be obeyed (`serve --routing`); returns it while it fires."""
    return _set(ws, model, FILE_RULE, disobeyed(refused(ws.root)), f"{model}: the routing file is not obeyed", lease)


def _set(ws: Workspace, model: str, rule: str, reason: str | None, subject: str, lease: Lease | None) -> Alert | None:
    """Make the alert of a rule fire (with a message) or end, where it does not stand so already; returns it while it fires."""
    with ws.state.read() as tx:
        firing = next((each for each in find_alerts(tx, model=model, state="firing") if each.rule == rule), None)
    if (reason is None) == (firing is None):
        return firing
    with ws.state.write(by="monitoring", lease=lease) as write:
        if reason is None and firing is not None:
            save_alert(write, replace(firing, state="resolved", until=ws.clock.utc()))
            return None
        alert = Alert(id=ws.new_id("alr"), model=model, rule=rule, severity="critical", reason=reason or "", since=ws.clock.utc())
        queue(write, kind="alert", subject=subject, text=alert.reason, id=alert.id)
        return save_alert(write, alert)
