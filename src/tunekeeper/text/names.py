"""Names of persons: detectors by name. A list of words is built in, Presidio comes with the extra `pii`, others plug in."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.registry import Registry
from tunekeeper.text.numbers import Span

DETECTORS = Registry("names", {"list": "tunekeeper.text.names:listed", "presidio": "tunekeeper.text.names:presidio"})
MOST_WORDS = 8
"""Words that one name of a list may have."""


class NameFinder(Protocol):
    """One way to find names."""

    def find(self, text: str) -> Sequence[Span]:
        """Start and end of every name in `text`."""


def detector(options: Mapping[str, str], root: Path) -> NameFinder:
    """The detector that `names` of a model file describes: its `detector`, and what that one takes.

    `options`: `{detector: list, file: names.txt}`, `{detector: presidio, language: en}`, or a function of your own that takes a
    text and gives spans, `{detector: "package.module:function"}`. `root`: the project's folder, where files are looked for.
    Raises ConfigError for a detector or an option that is none, a file that cannot be read, an extra that is not installed.
    """
    given = dict(options)
    name = given.pop("detector", "")
    if not name:
        raise ConfigError("names: which detector?", fix="write e.g. names: {detector: list, file: names.txt}")
    if ":" in name:
        return _Function(_imported(name), name)
    made = DETECTORS.load(name)
    try:
        finder: NameFinder = made(root, **given)
    except TypeError as error:
        raise ConfigError(f"names: detector {name}: {error}", fix="see docs/privacy.md for what it takes") from None
    return finder


def located(options: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The same with the files that they name below `folder`."""
    return {key: str(folder / value) if key in ("file", "config") else value for key, value in options.items()}


def _imported(name: str) -> Callable[[str], Any]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"names: {name!r} cannot be loaded: {error}", fix="install the package, or mend the name") from None
    if not callable(found):
        raise ConfigError(f"names: {name!r} is no function")
    return found  # type: ignore[no-any-return]


class _Function:
    """Somebody's function from a text to spans; what it gives is checked, since it decides what is stored."""

    def __init__(self, function: Callable[[str], Any], name: str) -> None:
        self._function, self._name = function, name

    def find(self, text: str) -> Sequence[Span]:
        try:
            spans = [(int(start), int(end)) for start, end in self._function(text)]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"names: {self._name} gave no spans: {error}", fix="give pairs of start and end") from None
        return [(start, end) for start, end in spans if 0 <= start < end <= len(text)]


# ---- a list of names ----


def listed(root: Path, *, file: str, case: str = "exact") -> NameFinder:
    """Names of a file, one a line, UTF-8; lines that begin with `#` are notes. `case`: `exact`, or `any` for capitals or not."""
    if case not in ("exact", "any"):
        raise ConfigError(f"names: case {case!r} is none of exact, any")
    path = root / file
    try:
        stat = path.stat()
        return _read(str(path), case == "any", stat.st_mtime_ns, stat.st_size)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"names: {file}: {error}", fix="give a text file in UTF-8, one name a line") from None


@functools.lru_cache(maxsize=8)
def _read(path: str, any_case: bool, changed_ns: int, size: int) -> Listed:
    """`changed_ns`, `size`: of the file as it is now, so that a list that was changed is read anew."""
    lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    return Listed([line for line in lines if line.strip() and not line.startswith("#")], any_case=any_case)


class Listed:
    """Names of a list, whole words only: a word that begins a name is looked up, and the longest name from there is taken.

    The time grows with the text alone, however long the list is.
    """

    _WORD = re.compile(r"[^\W\d_]+(?:['’\-](?!s\b)[^\W\d_]+)*")

    def __init__(self, names: Sequence[str], *, any_case: bool = False) -> None:
        """`names`: of one to `MOST_WORDS` words. `any_case`: capitals or not."""
        self._fold = str.casefold if any_case else str
        self._longest: dict[str, int] = {}
        self._names: set[tuple[str, ...]] = set()
        for name in names:
            words = tuple(self._fold(word) for word in self._WORD.findall(name))
            if not 0 < len(words) <= MOST_WORDS:
                raise ConfigError(f"names: {name[:60]!r} is no name of 1 to {MOST_WORDS} words", fix="write one name a line")
            self._names.add(words)
            self._longest[words[0]] = max(len(words), self._longest.get(words[0], 0))

    def find(self, text: str) -> Sequence[Span]:
        found: list[Span] = []
        places = [match.span() for match in self._WORD.finditer(text)]
        at = 0
        while at < len(places):
            words = self._name_at(text, places, at)
            if words:
                found.append((places[at][0], places[at + words - 1][1]))
            at += max(words, 1)
        return found

    def _name_at(self, text: str, places: Sequence[Span], at: int) -> int:
        """Words of the longest name that begins at one; 0: none. Between its words stand blanks and dots only."""
        word = self._fold(text[slice(*places[at])])
        most, run = self._longest.get(word, 0), [word]
        best = int(most > 0 and (word,) in self._names)
        for n in range(1, min(most, len(places) - at)):
            between = text[places[at + n - 1][1] : places[at + n][0]]
            if len(between) > 3 or between.strip(" .\u00a0\n"):
                break
            run.append(self._fold(text[slice(*places[at + n])]))
            best = n + 1 if tuple(run) in self._names else best
        return best


# ---- Presidio ----


def presidio(root: Path, *, language: str = "en", score: str = "0.5", config: str | None = None) -> NameFinder:
    """Microsoft Presidio with its language model. `language`: of the texts. `score`: least confidence, 0 to 1.

    `config`: a YAML file of Presidio's analyzer engine, for another model or recognizers of your own; it must recognize PERSON.
    """
    try:
        from presidio_analyzer import AnalyzerEngineProvider  # type: ignore[import-not-found]
    except ImportError:
        raise ConfigError("names: Presidio is not installed", fix="pip install 'tunekeeper[pii]'") from None
    if config is None:
        _need_model(language)
    elif not (root / config).is_file():
        raise ConfigError(f"names: {config}: there is no such file", fix="give a YAML file of Presidio's analyzer engine")
    try:
        least = float(score)
        engine = _engine(AnalyzerEngineProvider, None if config is None else str(root / config))
    except (OSError, ValueError, KeyError, ImportError) as error:
        line = str(error).partition("\n")[0]
        raise ConfigError(f"names: Presidio cannot start: {line}", fix="mend its configuration file") from None
    return _Presidio(engine, language, least)


@functools.lru_cache(maxsize=2)
def _engine(provider: Any, config: str | None) -> Any:
    """Loading a language model takes seconds: once."""
    with warnings.catch_warnings(action="ignore"):  # it warns of what it was told to leave out
        return provider(analyzer_engine_conf_file=config).create_engine()


def _need_model(language: str) -> None:
    """Presidio would fetch a model by itself: here nothing comes over the network unasked."""
    model = f"{language}_core_web_lg" if language in ("en", "zh") else f"{language}_core_news_lg"
    if importlib.util.find_spec(model) is None:
        raise ConfigError(f"names: the language model {model} is not installed", fix=f"python -m spacy download {model}")


class _Presidio:
    """Names as Presidio's engine sees them."""

    def __init__(self, engine: Any, language: str, least: float) -> None:
        self._engine, self._language, self._least = engine, language, least

    def find(self, text: str) -> Sequence[Span]:
        found = self._engine.analyze(text=text, language=self._language, entities=["PERSON"], score_threshold=self._least)
        return [(result.start, result.end) for result in found]
