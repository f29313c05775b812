"""Charts as inline SVG: numbers in, markup out. No script, no file, no colour of its own (the page's style sheet has those).

Horizontal places are percentages and vertical ones pixels, so that a chart takes the width it is given while its words keep
their size: at 320 pixels as on paper. A series is told apart by its dash and by the shape of its points, not by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

TOP, BOTTOM = 18.0, 20.0
LIMIT_NAME = 14.0
"""Where the name of a limit begins, in percent of the width: right of the scale's numbers."""
SHAPES = {"a": "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0z", "b": "M-3-3h6v6h-6z", "c": "M0-4.2L4 3H-4z"}
"""Kind of a series → the outline of its points: disc, square, triangle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One line of a chart."""

    label: str
    """Its name in the key."""
    points: Sequence[tuple[float, float]]
    """(x, y), in order of x."""
    kind: str = "a"
    """a, b or c: which dash, shape and colour."""
    band: Sequence[tuple[float, float, float]] = ()
    """(x, low, high) of its interval; empty where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What surrounds the lines of a chart."""

    alt: str
    """What the chart shows, for those who do not see it."""
    unit: str = ""
    """`%` shows shares as percentages; anything else is put behind the numbers."""
    x_labels: Sequence[tuple[float, str]] = ()
    """Marks under the chart: the first is put at the left edge, the last at the right."""
    limits: Sequence[tuple[float, str]] = ()
    """Horizontal lines with their words, e.g. an alarm line, highest first: its words stand above it, others' below."""
    moments: Sequence[tuple[float, str]] = ()
    """Vertical lines with their words, e.g. the day the world changed."""
    spans: Sequence[tuple[float, float, str]] = ()
    """Shaded stretches with their words, e.g. the phases of a canary."""
    zero: bool = True
    """Whether the scale begins at zero."""
    height: float = 170.0
    """Pixels."""


def lines(series: Sequence[Series], frame: Frame) -> Markup:
    """A line chart; a note instead where no series has a point."""
    xs = [x for each in series for x, _ in each.points]
    if not xs:
        return missing()
    ys = [y for each in series for _, y in each.points] + [v for each in series for _, lo, hi in each.band for v in (lo, hi)]
    ys += [value for value, _ in frame.limits] + ([0.0] if frame.zero else [])
    edges = [*xs, *(x for x, _ in frame.moments), *(x for a, b, _ in frame.spans for x in (a, b))]
    plot = _Plot(x0=min(edges), x1=max(edges), y0=min(ys), y1=max(ys), height=frame.height)
    drawn = [
        *(_span(plot, span, odd=bool(i % 2)) for i, span in enumerate(frame.spans)),
        *(_grid(plot, value, frame.unit) for value in nice(plot.y0, plot.y1)),
        *(_moment(plot, x, words) for x, words in frame.moments),
        *(_line(plot, each) for each in series),
        *(_limit(plot, value, words, lower=bool(i)) for i, (value, words) in enumerate(frame.limits)),
        *(_below(plot, x, words, i, len(frame.x_labels)) for i, (x, words) in enumerate(frame.x_labels)),
    ]
    return Markup('<svg class="chart" role="img" width="100%" height="{}" aria-label="{}">{}</svg>').format(
        f"{frame.height:.0f}", frame.alt, Markup("").join(drawn)
    )


def whisker(value: float, low: float | None, high: float | None, *, kind: str, lo: float = 0.0, hi: float = 1.0) -> Markup:
    """A point with its interval on a scale from `lo` to `hi`, with a tick at each tenth of it."""

    def at(number: float) -> str:
        return _f(100 * (min(max(number, lo), hi) - lo) / (hi - lo)) + "%"

    ticks = Markup("").join(Markup('<line class="grid" x1="{0}%" x2="{0}%" y1="0" y2="28"/>').format(10 * i) for i in range(11))
    bar = Markup("")
    if low is not None and high is not None:
        bar = Markup('<line class="stem k{0}" x1="{1}" x2="{2}" y1="14" y2="14"/>').format(kind, at(low), at(high))
        bar += Markup("").join(
            Markup('<line class="stem k{0}" x1="{1}" x2="{1}" y1="9" y2="19"/>').format(kind, at(end)) for end in (low, high)
        )
    dot = _mark(at(value), 14.0, kind)
    return Markup('<svg class="track" width="100%" height="28" aria-hidden="true">{}{}{}</svg>').format(ticks, bar, dot)


def bar(value: float, most: float, *, kind: str = "a") -> Markup:
    """A horizontal bar: `value` of `most`."""
    wide = 100 * value / most if most > 0 else 0.0
    return Markup(
        '<svg class="bar" width="100%" height="10" aria-hidden="true"><rect class="trough" width="100%" height="10" rx="3"/>'
        '<rect class="fill k{}" width="{}%" height="10" rx="3"/></svg>'
    ).format(kind, _f(min(max(wide, 0.0), 100.0)))


def key(label: str, kind: str) -> Markup:
    """The entry of a series in a chart's key."""
    return Markup(
        '<span class="key"><svg width="26" height="12" aria-hidden="true"><line class="path k{0}" x1="0" x2="26" y1="6" y2="6"/>'
        "{1}</svg>{2}</span>"
    ).format(kind, _mark("13", 6.0, kind), label)


def missing() -> Markup:
    """What stands where nothing was measured."""
    return Markup('<p class="absent">not measured</p>')


def nice(low: float, high: float, most: int = 4) -> list[float]:
    """At most `most` + 1 round numbers from `low` to `high`."""
    width = high - low
    if not width > 0:
        return [low]
    step = 10 ** math.floor(math.log10(width / most))
    step *= next(factor for factor in (1, 2, 5, 10) if width / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def shown(value: float, unit: str) -> str:
    """A number of an axis."""
    if unit == "%":
        return f"{100 * value:.4g} %"
    return f"{value:.4g} {unit}".rstrip()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plot:
    x0: float
    x1: float
    y0: float
    y1: float
    height: float

    def x(self, value: float) -> float:
        return 100 * (value - self.x0) / (self.x1 - self.x0) if self.x1 > self.x0 else 50.0

    def y(self, value: float) -> float:
        room = self.height - TOP - BOTTOM
        share = (value - self.y0) / (self.y1 - self.y0) if self.y1 > self.y0 else 0.5
        return TOP + room * (1 - min(max(share, 0.0), 1.0))


def _line(plot: _Plot, series: Series) -> Markup:
    path = " ".join(f"{_f(plot.x(x))},{_f(plot.y(y))}" for x, y in series.points)
    upper = [f"{_f(plot.x(x))},{_f(plot.y(high))}" for x, _, high in series.band]
    lower = [f"{_f(plot.x(x))},{_f(plot.y(low))}" for x, low, _ in reversed(series.band)]
    area = Markup('<polygon class="area k{}" points="{}"/>').format(series.kind, " ".join(upper + lower)) if upper else Markup("")
    inner = Markup('<svg viewBox="0 0 100 {0}" width="100%" height="{0}" preserveAspectRatio="none">{1}{2}</svg>').format(
        f"{plot.height:.0f}", area, Markup('<polyline class="path k{}" points="{}"/>').format(series.kind, path)
    )
    few = series.points if len(series.points) <= 30 else series.points[-1:]
    return inner + Markup("").join(_mark(f"{_f(plot.x(x))}%", plot.y(y), series.kind) for x, y in few)


def _mark(x: str, y: float, kind: str) -> Markup:
    return Markup('<svg x="{}" y="{}" overflow="visible"><path class="mark k{}" d="{}"/></svg>').format(
        x, _f(y), kind, SHAPES.get(kind, SHAPES["a"])
    )


def _grid(plot: _Plot, value: float, unit: str) -> Markup:
    y = plot.y(value)
    return Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/><text class="scale" x="0" y="{1}">{2}</text>').format(
        _f(y), _f(y - 3), shown(value, unit)
    )


def _limit(plot: _Plot, value: float, words: str, *, lower: bool) -> Markup:
    y = plot.y(value)
    return Markup(
        '<line class="limit" x1="0" x2="100%" y1="{0}" y2="{0}"/><text class="limit-name" x="{1}%" y="{2}">{3}</text>'
    ).format(_f(y), _f(LIMIT_NAME), _f(y + 12 if lower or y < TOP + 10 else y - 4), words)  # fmt: skip


def _moment(plot: _Plot, x: float, words: str) -> Markup:
    place = plot.x(x)
    return Markup(
        '<line class="moment" x1="{0}%" x2="{0}%" y1="12" y2="{1}"/><text class="moment-name" x="{0}%" y="9" '
        'text-anchor="{2}">{3}</text>'
    ).format(_f(place), _f(plot.height - BOTTOM), _anchor(place), words)


def _span(plot: _Plot, span: tuple[float, float, str], *, odd: bool) -> Markup:
    left, right = plot.x(span[0]), plot.x(span[1])
    return Markup(
        '<rect class="span{0}" x="{1}%" width="{2}%" y="12" height="{3}"/><text class="span-name" x="{4}%" y="9" '
        'text-anchor="{5}">{6}</text>'
    ).format(
        " odd" if odd else "", _f(left), _f(right - left), _f(plot.height - BOTTOM - 12), _f(left), _anchor(left), span[2]
    )  # fmt: skip


def _below(plot: _Plot, x: float, words: str, index: int, count: int) -> Markup:
    anchor = "start" if index == 0 else "end" if index == count - 1 else "middle"
    return Markup('<text class="scale" x="{}%" y="{}" text-anchor="{}">{}</text>').format(
        _f(plot.x(x)), _f(plot.height - 5), anchor, escape(words)
    )


def _anchor(place: float) -> str:
    return "start" if place < 60 else "end"


def _f(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
