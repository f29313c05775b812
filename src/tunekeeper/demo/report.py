"""`report.html`: demo.json as one page that needs no network, no script and no other file.

Every number on the page is one of demo.json; the alarm lines and the error of the tests come from the project's own model file.
A figure that is missing, because its act has not been played or measured nothing, is shown as "not measured".
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunekeeper.config import load_project
from tunekeeper.core.errors import UserError
from tunekeeper.demo import charts
from tunekeeper.demo.charts import Frame, Series
from tunekeeper.monitoring.rules import rules_of

SIGNALS = (
    ("edit_rate", "Answers that users corrected", "%"),
    ("accuracy", "Accuracy on reviewed samples", "%"),
    ("vocabulary_drift", "Requests with a new term", "%"),
    ("input_drift", "Distance of the input's words from day one", ""),
)
"""Signal, its name on the page, its unit."""
CANARIES = (("canary", "The retrained version"), ("override", "The bad candidate, let through by name"))
HOUR, DAY = 3600.0, 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """What the project's model file says about lines and errors; empty where there is no file."""

    limits: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    """Signal → its alarm line, and the side that is bad."""
    alpha: float | None = None
    """Error of each of a canary's two tests."""


def write_report(folder: Path, figures: Mapping[str, Any]) -> Path:
    """Write `folder`/report.html, whole or not at all, from the figures of demo.json. Returns its path."""
    path = folder / "report.html"
    fresh = path.with_suffix(".new")
    fresh.write_text(render(figures, lines_of(folder, _day_one(figures))), encoding="utf-8")
    os.replace(fresh, path)
    return path


def _day_one(figures: Mapping[str, Any]) -> Mapping[str, float]:
    """The baseline's values, whose noise raises the lines of drift; empty when none was captured."""
    values = _at(figures, "acts", "change", "baseline", "values")
    return values if isinstance(values, Mapping) else {}


def lines_of(folder: Path, baseline: Mapping[str, float] | None = None) -> Lines:
    """The alarm lines and the alpha of the folder's only model; without a project that can be read, none."""
    try:
        models = load_project(folder).models
    except (UserError, OSError):
        return Lines()
    if len(models) != 1:
        return Lines()
    sections = next(iter(models.values())).sections
    rules = rules_of(sections["monitoring"], baseline or {})
    return Lines(limits={rule.signal: (rule.limit, rule.direction) for rule in rules}, alpha=sections["rollout"].alpha)


def render(figures: Mapping[str, Any], lines: Lines) -> str:
    """The page. `figures` may lack anything."""
    import jinja2

    kit = jinja2.Environment(
        loader=jinja2.PackageLoader("tunekeeper.demo"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kit.filters.update(share=share, number=number, estimate=estimate, ago=day)
    kit.globals.update(whisker=_whisker, bar=charts.bar, key=charts.key)
    acts = figures.get("acts") or {}
    return kit.get_template("report.html.j2").render(
        figures=figures,
        acts=acts,
        marks=promises(figures),
        losses=[_loss(name, act) for name, act in _trained(acts)],
        signals=[_signal(figures, lines, *row) for row in SIGNALS],
        canaries=[_canary(title, _at(acts, act, "rollout"), lines) for act, title in CANARIES],
        slowest=max((_real(each.get("wall_seconds")) or 0.0 for each in figures.get("stages") or ()), default=0.0),
    )


def promises(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the demo sets out to show and whether this run showed it: True, False, or None where it was not played."""
    acts = figures.get("acts") or {}
    traffic, drill = figures.get("traffic") or {}, figures.get("drill") or {}
    sent, failed = traffic.get("sent"), traffic.get("failed")
    back = _real(drill.get("back_ms"))
    parities = [each for path in (("export",), ("cycle", "export")) if (each := _at(acts, *path, "parity", "verdict"))]
    exams = [_at(acts, act, "exam", "candidate", "verdict") for act in ("bad", "regression")]
    return [
        _promise(
            "What is served is what was trained",
            set(parities) == {"pass"} if parities else None,
            f"{parities.count('pass')} of {len(parities)} exports agree in every layer",
        ),
        _promise(
            "The change was noticed", bool(figures.get("trigger")) if acts.get("change") else None, "a trigger opened a cycle"
        ),
        _promise("A better version took over", _is(acts, "canary", "promoted"), "after its canary"),
        _promise("A bad one was stopped", _is(acts, "bad", "blocked"), f"gate: {exams[0] or 'not judged'}"),
        _promise("Let through, it went back alone", _is(acts, "override", "rolled_back"), "nobody had to act"),
        _promise("Its failures now block it", _is(acts, "regression", "blocked"), f"gate: {exams[1] or 'not judged'}"),
        _promise("No request was lost", failed == 0 if sent else None, f"{sent or 0} sent, {failed or 0} failed"),
        _promise("The way back is instant", back < 1000 if back is not None else None, f"{back or 0:.0f} ms under load"),
    ]


def share(value: Any) -> str:
    """A share as a percentage; takes an estimate as well."""
    found = _real(value.get("value") if isinstance(value, Mapping) else value)
    return "not measured" if found is None else f"{100 * found:.1f} %"


def estimate(value: Any, unit: str = "%") -> str:
    """An estimate with its 95 % interval and its count."""
    if not isinstance(value, Mapping) or _real(value.get("value")) is None:
        return "not measured"
    low, high = _real(value.get("low")), _real(value.get("high"))
    factor, digits = (100, 1) if unit == "%" else (1, 2)
    text = f"{factor * float(value['value']):.{digits}f} {unit}".rstrip()
    interval = f" [{factor * low:.{digits}f}, {factor * high:.{digits}f}]" if low is not None and high is not None else ""
    return f"{text}{interval}, n = {value.get('n', 0)}"


def number(value: Any, digits: int = 0, unit: str = "") -> str:
    """A number with its unit, thousands set apart by a thin space."""
    found = _real(value)
    return "not measured" if found is None else f"{found:,.{digits}f}".replace(",", "\u202f") + (f"\u00a0{unit}" if unit else "")


def day(value: Any) -> str:
    """An ISO time as a day and an hour."""
    found = _time(value)
    return "not measured" if found is None else f"{found:%d %b %H:%M}"


def _promise(name: str, kept: bool | None, detail: str) -> dict[str, Any]:
    return {"name": name, "kept": kept, "detail": detail if kept is not None else "not played yet"}


def _is(acts: Mapping[str, Any], act: str, state: str) -> bool | None:
    found = _at(acts, act, "state")
    return None if found is None else found == state


def _trained(acts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("First version", acts.get("train")),
        ("Retrained, continued from the first", _at(acts, "cycle", "train")),
        ("Trained on shuffled labels", _at(acts, "bad", "train")),
    ]


def _loss(name: str, run: Any) -> dict[str, Any]:
    run = run if isinstance(run, Mapping) else {}
    curve = [value for value in map(_real, run.get("loss") or ()) if value is not None]
    points = [(float(i), value) for i, value in enumerate(curve, 1)]
    labels = [(1.0, "start"), (float(len(points)), f"{len(points)} means over training")] if len(points) > 1 else []
    frame = Frame(alt=f"{name}: training loss", x_labels=labels, height=150)
    return {"name": name, "run": run, "first": curve[0] if curve else None, "last": curve[-1] if curve else None,
            "chart": charts.lines([Series(label="loss", points=points)], frame)}  # fmt: skip


def _signal(figures: Mapping[str, Any], lines: Lines, name: str, title: str, unit: str) -> dict[str, Any]:
    acts = figures.get("acts") or {}
    before = [each for each in _at(acts, "traffic", "signals") or () if each.get("name") == name]
    rows = [each for each in _at(acts, "change", "signals") or before if each.get("name") == name]
    rows = [each for each in rows if _real(each.get("value")) is not None and _time(each.get("until")) is not None]
    points = [(_stamp(each), float(each["value"])) for each in rows]
    band = [(_stamp(each), each["low"], each["high"]) for each in rows if _real(each.get("low")) is not None]
    changed = _changed(acts)
    limit = lines.limits.get(name)
    words = f"alarm {limit[1]} {charts.shown(limit[0], unit)}" if limit else ""
    frame = Frame(
        alt=f"{title}, one point for each window",
        unit=unit,
        x_labels=[(x, f"{datetime.fromtimestamp(x, UTC):%d %b}") for x in dict.fromkeys((points[0][0], points[-1][0]))]
        if points
        else (),
        limits=[(limit[0], words)] if limit else (),
        moments=[(changed, "the world changes")] if changed is not None and points and points[-1][0] > changed else (),
        zero=name != "accuracy",
        height=180,
    )
    counts = [int(each.get("n") or 0) for each in rows]
    return {
        "name": name, "title": title, "unit": unit, "rows": rows, "last": rows[-1] if rows else None,
        "counts": " to ".join(str(n) for n in sorted({min(counts), max(counts)})) if counts else None, "line": words or None,
        "new_words": (_at(rows[-1], "detail", "new_words") or []) if rows else [],
        "chart": charts.lines([Series(label=title, points=points, band=band)], frame),
    }  # fmt: skip


def _changed(acts: Mapping[str, Any]) -> float | None:
    """When the world changed: as noted, else the end of the last window of the quiet week that heard anybody."""
    noted = _time(_at(acts, "change", "changed_at"))
    if noted is not None:
        return noted.timestamp()
    quiet = [each for each in _at(acts, "traffic", "signals") or () if each.get("n") and _time(each.get("until"))]
    return max((_stamp(each) for each in quiet), default=None)


def _canary(title: str, rollout: Any, lines: Lines) -> dict[str, Any]:
    rollout = rollout if isinstance(rollout, Mapping) else {}
    looks = [each for each in rollout.get("checks") or () if _time(each.get("at")) is not None]
    begun = _time(looks[0]["at"]) if looks else None
    hours = [(_time(each["at"]) - begun).total_seconds() / HOUR if begun else 0.0 for each in looks]  # type: ignore[operator]
    spans = _phases(rollout, looks, hours)
    axis = [(0.0, "first look"), (hours[-1], f"{hours[-1]:.1f} h later")] if len(hours) > 1 else [(0.0, "one look")]
    alpha = _real(rollout.get("alpha")) or lines.alpha
    metrics = list(looks[-1].get("metrics") or ()) if looks else []
    frame = Frame(alt=f"{title}: requests judged so far", x_labels=axis, spans=spans, height=190)
    counted = [
        Series(label=f"{arm}", kind=kind, points=_track(looks, hours, metrics[0] if metrics else "", arm))
        for arm, kind in (("champion", "b"), ("candidate", "a"))
    ]
    return {
        "title": title, "rollout": rollout, "looks": len(looks), "alpha": alpha,
        "last": _at(looks[-1], "metrics", metrics[0]) if metrics else None, "counts": charts.lines(counted, frame),
        "evidence": [_evidence(name, looks, hours, spans, axis, alpha, len(metrics)) for name in metrics],
    }  # fmt: skip


def _evidence(
    name: str,
    looks: Sequence[Any],
    hours: Sequence[float],
    spans: Sequence[tuple[float, float, str]],
    axis: Sequence[tuple[float, str]],
    alpha: float | None,
    guardrails: int,
) -> dict[str, Any]:
    ten = math.log(10)
    series = [
        Series(label=words, kind=kind, points=[(x, y / ten) for x, y in _track(looks, hours, name, metric)])
        for metric, words, kind in (("log_e_harm", "evidence of harm", "c"), ("log_e_safe", "evidence of safety", "a"))
    ]
    limits = [(math.log10(guardrails / alpha), "harm is shown"), (math.log10(1 / alpha), "safety is shown")] if alpha else []
    frame = Frame(alt=f"{name}: log10 of the e-values", x_labels=axis, spans=spans, limits=limits, height=190)
    return {"name": name, "chart": charts.lines(series, frame), "last": _at(looks[-1], "metrics", name), "limits": limits}


def _track(looks: Sequence[Any], hours: Sequence[float], metric: str, key: str) -> list[tuple[float, float]]:
    values = [_real(_at(each, "metrics", metric, key)) for each in looks]
    return [(x, value) for x, value in zip(hours, values, strict=True) if value is not None]


def _phases(rollout: Mapping[str, Any], looks: Sequence[Any], hours: Sequence[float]) -> list[tuple[float, float, str]]:
    spans: list[tuple[float, float, str]] = []
    planned = rollout.get("phases") or ()
    for number_, phase in enumerate(planned):
        inside = [x for x, each in zip(hours, looks, strict=True) if each.get("phase") == number_]
        if inside:
            begin = spans[-1][1] if spans else inside[0]
            spans.append((begin, inside[-1], f"{phase.get('percent', 0):g} %"))
    return spans


def _whisker(value: Any, kind: str) -> Any:
    found = _real(value.get("value")) if isinstance(value, Mapping) else None
    if found is None:
        return charts.missing()
    return charts.whisker(found, _real(value.get("low")), _real(value.get("high")), kind=kind)


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _real(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _stamp(row: Mapping[str, Any]) -> float:
    found = _time(row.get("until"))
    return found.timestamp() if found is not None else 0.0
