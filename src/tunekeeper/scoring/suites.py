"""Suite files: YAML with its cases inside or in a JSONL beside it, or a JSONL of conversations alone.

    suite: support-desk-core            # its name
    model: support-desk
    scorers: [json_fields]              # or {json_fields: {fields: [category, priority]}}
    criteria:
      - {metric: accuracy, at_least: 0.90}
      - {metric: accuracy, margin: 0.05}          # paired with the champion
      - {metric: word_limit, at_least: 0.8, blocking: false}
    cases: cases.jsonl                  # or a list

A case is {id, messages | input, expected, category, tags}; a conversation that ends with an assistant's message expects that.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from tunekeeper.core.errors import ConfigError, DataError, NotFound
from tunekeeper.core.ids import canonical_json, digest_json
from tunekeeper.core.nouns.evaluation import Case, Criterion, Suite
from tunekeeper.scoring.config import Config
from tunekeeper.scoring.scorers import scorer

SUITE_KEYS = ("suite", "model", "description", "scorers", "criteria", "cases")
CRITERION_KEYS = ("metric", "at_least", "at_most", "margin", "blocking")
CASE_KEYS = ("id", "messages", "input", "expected", "category", "tags", "source", "metadata", "tools")
ROLES = ("system", "developer", "user", "assistant", "tool")


def load_suite(path: Path) -> Suite:
    """The suite in a `.yaml` or `.jsonl` file. Raises NotFound, and ConfigError or DataError with file and line."""
    if path.suffix in (".jsonl", ".ndjson"):
        return with_digest(Suite(id=path.stem, model="", cases=tuple(_jsonl(path)), criteria=()))
    root, value = _yaml(path)
    if not isinstance(value, dict):
        fix = "write `suite: NAME`, and `cases:` with a list below it"
        raise ConfigError(f"{path}:1: a suite is a mapping of {', '.join(SUITE_KEYS)}", fix=fix)
    lines = _Lines(root)
    _known(value, SUITE_KEYS, path, lines)
    names, options = _scorers(value.get("scorers", ["exact"]), f"{path}:{lines.at('scorers')}")
    criteria = value.get("criteria") or []
    if not isinstance(criteria, list):
        raise ConfigError(f"{path}:{lines.at('criteria')}: criteria are a list", fix="write - {metric: accuracy, at_least: 0.9}")
    suite = Suite(
        id=str(value.get("suite") or path.stem),
        model=str(value.get("model") or ""),
        cases=tuple(_cases(value.get("cases"), path, lines)),
        criteria=tuple(_criterion(c, path, lines.at("criteria", i)) for i, c in enumerate(criteria)),
        scorers=names,
        scorer_options=options,
    )
    return with_digest(suite)


def with_digest(suite: Suite) -> Suite:
    """The same suite with the digest of what it asks and demands; raises DataError when two cases share an id."""
    seen: dict[str, str] = {}
    for case in suite.cases:
        if case.id in seen:
            raise DataError(
                f"{case.source}: case id {case.id!r} is already taken by {seen[case.id]}", fix="give each case its own id"
            )
        seen[case.id] = case.source
    content = {
        "cases": [{k: v for k, v in asdict(c).items() if k != "source"} for c in suite.cases],
        "criteria": [asdict(c) for c in suite.criteria],
        "scorers": list(suite.scorers),
        "options": suite.scorer_options,
    }
    return replace(suite, digest=digest_json(content))


def case_of(row: Mapping[str, Any], where: str) -> Case:
    """A case from one JSON row. `where` (file:line) names it in errors and gives it an id when it has none. Raises DataError."""
    for key in row:
        if key not in CASE_KEYS:
            near = difflib.get_close_matches(str(key), CASE_KEYS, 1)
            raise DataError(f"{where}: unknown key {key!r} in a case", fix=f"write {near[0]!r}" if near else None)
    messages = row.get("messages")
    if messages is None and isinstance(row.get("input"), str):
        messages = [{"role": "user", "content": row["input"]}]
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: a case needs messages or input")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise DataError(f"{where}: a message needs a role out of {', '.join(ROLES)}")
    expected = row.get("expected")
    if messages[-1]["role"] == "assistant":
        expected = messages[-1].get("content") if expected is None else expected
        messages = messages[:-1]
    if not any(m["role"] == "user" for m in messages):
        raise DataError(f"{where}: nothing is asked: no user message")
    metadata = row.get("metadata") or {}
    tags = row.get("tags") or ()
    if not isinstance(tags, list | tuple) or not isinstance(metadata, dict):
        raise DataError(f"{where}: tags are a list and metadata a mapping")
    try:
        canonical_json(dict(row))
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: a case holds what JSON cannot: {error}", fix="write it as text, in quotes") from None
    return Case(
        id=str(row.get("id") or metadata.get("id") or f"line-{where.rpartition(':')[2]}"),
        messages=tuple(messages),
        expected=expected,
        category=str(row.get("category") or metadata.get("category") or ""),
        tags=tuple(str(t) for t in tags),
        source=str(row.get("source") or where),
    )


def _cases(given: Any, path: Path, lines: _Lines) -> Iterator[Case]:
    if isinstance(given, str):
        try:
            beside = (path.parent / given).resolve()
        except ValueError as error:
            raise ConfigError(f"{path}:{lines.at('cases')}: {given!r} names no file: {error}") from None
        if path.parent.resolve() not in beside.parents:
            raise ConfigError(f"{path}:{lines.at('cases')}: cases must lie beside the suite, not at {given}")
        yield from _jsonl(beside)
        return
    if not isinstance(given, list) or not given:
        raise ConfigError(f"{path}:{lines.at('cases')}: a suite needs cases: a list, or the name of a .jsonl beside it")
    for i, row in enumerate(given):
        where = f"{path}:{lines.at('cases', i)}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: a case is a mapping of {', '.join(CASE_KEYS[:6])}")
        yield case_of(row, where)


def _jsonl(path: Path) -> Iterator[Case]:
    found = False
    for number, line in enumerate(_read(path).split("\n"), 1):  # a text may hold what else ends a line, U+2028 say
        if not line.strip():
            continue
        found = True
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a case is a JSON object, this is {type(row).__name__}")
        yield case_of(row, f"{path}:{number}")
    if not found:
        raise DataError(f"{path}: holds no case")


def _criterion(row: Any, path: Path, line: int) -> Criterion:
    where = f"{path}:{line}"
    if not isinstance(row, dict) or not isinstance(row.get("metric"), str):
        raise ConfigError(f"{where}: a criterion is a mapping with a metric and at_least, at_most or margin")
    for key in row:
        if key not in CRITERION_KEYS:
            near = difflib.get_close_matches(str(key), CRITERION_KEYS, 1)
            raise ConfigError(f"{where}: unknown key {key!r} in a criterion", fix=f"write {near[0]!r}" if near else None)
    bounds = {k: row[k] for k in ("at_least", "at_most", "margin") if row.get(k) is not None}
    if not bounds:
        raise ConfigError(f"{where}: criterion {row['metric']} has no at_least, at_most or margin")
    for key, value in bounds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ConfigError(
                f"{where}: {key} of {row['metric']} is {value!r}, not a share from 0 to 1", fix="write 0.9 for 90 %"
            )
    blocking = row.get("blocking", True)
    if not isinstance(blocking, bool):
        raise ConfigError(f"{where}: blocking of {row['metric']} is {blocking!r}, not true or false")
    return Criterion(metric=row["metric"], blocking=blocking, **{k: float(v) for k, v in bounds.items()})


def _scorers(given: Any, where: str) -> tuple[tuple[str, ...], dict[str, dict[str, Any]]]:
    options: dict[str, dict[str, Any]] = {}
    if isinstance(given, dict):
        for name, chosen in given.items():
            if not isinstance(chosen, dict | None) or not all(isinstance(key, str) for key in chosen or ()):
                raise ConfigError(f"{where}: the options of scorer {name} are a mapping", fix="write {at_most: 80}")
        options = {str(k): dict(v or {}) for k, v in given.items()}
    elif isinstance(given, list) and given and all(isinstance(name, str) for name in given):
        options = {name: {} for name in given}
    else:
        raise ConfigError(f"{where}: scorers are a list of names, or a mapping of names to options")
    for name, chosen in options.items():
        try:
            scorer(name, **chosen)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", fix=error.fix) from None
    return tuple(options), {name: chosen for name, chosen in options.items() if chosen}


def _known(value: Mapping[Any, Any], keys: tuple[str, ...], path: Path, lines: _Lines) -> None:
    for key in value:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, 1)
            raise ConfigError(f"{path}:{lines.at(key)}: unknown key {key!r}", fix=f"write {near[0]!r}" if near else None)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > Config().max_suite_mb << 20:
            raise DataError(f"{path}: larger than {Config().max_suite_mb} MiB")
        return path.read_text("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise NotFound(f"no suite file {path}", fix="tunekeeper eval init --model M") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", fix="name a file that you may read") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from None


class _Loader(yaml.SafeLoader):
    """The safe loader, to which a date is text, since a case is JSON, and which refuses a key that stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                said = f"key {key.value!r} stands twice; keep one of them"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _yaml(path: Path) -> tuple[Any, Any]:
    """The nodes of a YAML file, which know their lines, and its value. Raises ConfigError, NotFound, DataError."""
    text, loader = _read(path), None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if _written_out(root, {}) > Config().max_suite_mb << 20:
            raise ConfigError(f"{path}: with its aliases written out, larger than {Config().max_suite_mb} MiB")
        return root, None if root is None else loader.construct_document(root)  # type: ignore[no-untyped-call]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = " ".join(str(getattr(error, "problem", None) or error).split())
        fix = None if "twice" in said else "close what that line or one before it opens, or put the value in quotes"
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {said}", fix=fix) from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply", fix="close the brackets that are open") from None
    except (AttributeError, LookupError, ValueError) as error:  # PyYAML, of `!!bool maybe` and of numbers with 5,000 digits
        raise ConfigError(f"{path}: not YAML: a value does not fit its tag: {error}", fix="leave the tag out") from None
    finally:
        if loader is not None:
            loader.dispose()  # type: ignore[no-untyped-call]


def _written_out(node: Any, sizes: dict[int, float]) -> float:
    """Characters of a YAML value where each alias stands written out; infinite where one stands for what it is in."""
    if id(node) not in sizes:
        sizes[id(node)] = math.inf
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        flat = itertools.chain.from_iterable(parts) if isinstance(node, yaml.MappingNode) else parts
        own = len(node.value) if isinstance(node, yaml.ScalarNode) else 1
        sizes[id(node)] = own + sum(_written_out(each, sizes) for each in flat)
    return sizes[id(node)]


class _Lines:
    """Line numbers of a YAML mapping's keys and of the items of its lists."""

    def __init__(self, root: Any) -> None:
        self.keys = {k.value: (k, v) for k, v in root.value} if isinstance(root, yaml.MappingNode) else {}

    def at(self, key: Any, item: int | None = None) -> int:
        """Line of a key, or of the `item`-th entry under it; 1 when there is none."""
        if key not in self.keys:
            return 1
        name, value = self.keys[key]
        if item is not None and isinstance(value, yaml.SequenceNode) and item < len(value.value):
            return int(value.value[item].start_mark.line) + 1
        return int(name.start_mark.line) + 1
