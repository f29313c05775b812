"""What a finder of names must keep: spans inside the text, the same each time, for any text that people write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.testing.contracts.trial import attempt, must, shown
from tunekeeper.text.names import NameFinder

TEXTS = (
    "",
    " \n\t",
    "{name}",
    "Ask {name}, please. {name}!",
    "\u6f22\u5b57 {name} \U0001f642\u200d\u2642 \u202e{name}\u202c",
    "e\u0301 {name}\x00\r\n" + "no name here. " * 2_000,
)
"""What is looked through; `{name}` stands for a name that has to be found."""


def check_name_finder(
    maker: Callable[..., NameFinder],
    root: Path,
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    seconds: float = 10.0,
) -> None:
    """Raise AssertionError, naming the promise, unless `maker` keeps the contract of `NameFinder`.

    `maker`: called as redaction does, with `root` (the project's folder) and the `options` of a model file. `name`: a name that
    it knows with them, found wherever it stands alone. `seconds`: how long one text may take.
    """
    finder: NameFinder = attempt("making it", lambda: maker(root, **(options or {})), seconds=seconds)
    must(callable(getattr(finder, "find", None)), f"{type(finder).__name__} has no find()")
    what = "making it with an option that it does not have"
    made = attempt(
        what, lambda: maker(root, **(options or {}), no_such_option="1"), seconds=seconds, may_raise=(TypeError, ConfigError)
    )
    must(isinstance(made, TypeError | ConfigError), f"{what} was let pass: a typing error in a configuration must be told")
    for pattern in TEXTS:
        _found(finder, pattern.replace("{name}", name), name, seconds)


def _found(finder: NameFinder, text: str, name: str, seconds: float) -> None:
    what = f"find({shown(text)})"
    spans = [tuple(span) for span in attempt(what, lambda: list(finder.find(text)), seconds=seconds)]
    for span in spans:
        inside = len(span) == 2 and all(type(end) is int for end in span) and 0 <= span[0] < span[1] <= len(text)
        must(inside, f"{what} gave {shown(span)}, which is no piece of the text")
    again = [tuple(span) for span in attempt(f"a second {what}", lambda: list(finder.find(text)), seconds=seconds)]
    must(spans == again, f"{what} gave other spans the second time: what is stored must not depend on chance")
    at = text.find(name)
    while at >= 0:
        covered = any(start <= at and end >= at + len(name) for start, end in spans)
        must(covered, f"{what} did not find {shown(name)} at {at}")
        at = text.find(name, at + len(name))
