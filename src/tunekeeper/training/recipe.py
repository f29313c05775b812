"""A recipe: every hyperparameter of one run, resolved, validated, with a digest. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import digest_json
from tunekeeper.training.config import Config

USUAL_EPOCHS = 5
USUAL_RANKS = (8, 64)
FULL_RATE = 2e-5
"""Peak rate of full tuning where nobody names one: TRL's default, a tenth of what an adapter takes."""
HOT_FULL_RATE = 1e-4
ADAPTER_ONLY = ("rank", "alpha", "dropout", "targets", "dora", "rslora", "qlora")
"""Values that say something about an adapter, and nothing without one."""
LONGEST_FILE = 100_000
"""Characters of a recipe's file."""
SCIENTIFIC = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]{1,3}")
MOST = 1 << 63
"""No number of a recipe is larger; what a float cannot hold, and what Python does not print, lies beyond."""
LIMITS: dict[str, tuple[float, float]] = {
    "rank": (1, 4096),
    "alpha": (1, 65536),
    "dropout": (0, 0.95),
    "epochs": (1, 1000),
    "learning_rate": (1e-8, 1),
    "warmup_steps": (0, 1_000_000),
    "batch": (1, 4096),
    "max_tokens": (8, 1_000_000),
    "clip": (1e-6, 1e6),
    "weight_decay": (0, 1),
    "seed": (0, 2**31 - 1),
    "threads": (1, 1024),
    "replay": (0, 100),
    "accumulation": (1, 4096),
    "beta": (1e-6, 100),
    "patience": (1, 1000),
}
"""Lowest and highest of each number, in the unit of `Config`."""
CHOICES = {
    "method": ("lora", "full"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "objective": ("sft", "dpo"),
    "keep": ("task", "loss", "last"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What a training child does; meanings and units as in `Config`."""

    method: str
    """lora or full."""
    rank: int
    """Rank of the low-rank matrices, at least 1."""
    alpha: int
    """Scale numerator, at least 1."""
    dropout: float
    """0 to below 1."""
    targets: tuple[str, ...]
    """Layers with an adapter."""
    epochs: int
    """Passes, at least 1."""
    learning_rate: float
    """Peak rate, above 0 and at most 1."""
    warmup_steps: int
    """Steps of climbing, at least 0."""
    batch: int
    """Conversations a step, at least 1."""
    max_tokens: int
    """Longest conversation, at least 8 tokens."""
    clip: float
    """Largest gradient norm, above 0."""
    weight_decay: float
    """At least 0."""
    seed: int
    """At least 0."""
    threads: int
    """At least 1."""
    dtype: str
    """auto, float32, bfloat16 or float16."""
    accumulation: int
    """Parts a batch is worked off in, at least 1."""
    checkpointing: bool
    """Activations worked out again."""
    packing: bool
    """Rows end to end."""
    dora: bool
    """Weight-decomposed adapter."""
    rslora: bool
    """Rank-stabilised scale."""
    objective: str
    """sft or dpo."""
    beta: float
    """DPO's hold to the start, above 0."""
    patience: int | None
    """Epochs without a lower held-out loss before it stops; None: never."""
    keep: str
    """task, loss or last."""
    qlora: bool
    """4-bit base."""
    replay: float | None
    """Old rows per new row when continuing; None: all rows."""

    def as_json(self) -> dict[str, Any]:
        """The recipe as JSON values, every field present."""
        return dataclasses.asdict(self) | {"targets": list(self.targets)}

    @property
    def digest(self) -> str:
        """Digest of the recipe's JSON."""
        return digest_json(self.as_json())


FIELDS = {field.name: field.type for field in dataclasses.fields(Recipe)}


def resolve(config: Config, changes: dict[str, Any] | None = None, *, continued: bool = False, where: str = "recipe") -> Recipe:
    """The recipe of a run: the section's values, its `update` values when `continued`, then `changes`.

    Raises ConfigError naming `where`, the key and the allowed range; an unknown key names the nearest known one.
    """
    values = {name: getattr(config, name) for name in FIELDS}
    sources = dict.fromkeys(FIELDS, "training")
    layers = [("training.update", config.update)] if continued else []
    for source, layer in (*layers, (where, changes or {})):
        for key, value in layer.items():
            values[_known(key, source)], sources[key] = value, source
    if values["method"] == "full" and not set(FIELDS) <= set(changes or {}):  # a recipe on record is whole, and as it was
        _refuse_adapter_values(changes or {}, where)
        if values["learning_rate"] == Config().learning_rate and "learning_rate" not in (changes or {}):
            values["learning_rate"] = FULL_RATE
    return from_json(values, where=where, sources=sources)


def from_json(values: dict[str, Any], *, where: str = "recipe", sources: Mapping[str, str] | None = None) -> Recipe:
    """A recipe from JSON values; a missing field takes the product's default. `sources`: key → where its value comes from, else
    `where`. Raises ConfigError as `resolve` does."""
    for key in values:
        _known(key, where)
    merged = {name: getattr(Config(), name) for name in FIELDS} | values
    places = dict.fromkeys(FIELDS, where) | dict(sources or {})
    typed = {key: _checked(key, value, places[key]) for key, value in merged.items()}
    _check_together(typed, where)
    return Recipe(**typed)


def read_changes(path: Path) -> dict[str, Any]:
    """The mapping in a recipe FILE (JSON or YAML). Raises ConfigError naming file, line of an unknown key, and what is wrong."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path}: cannot be read: {why}", fix="name a recipe file in JSON or YAML that you may read") from error
    if len(text) > LONGEST_FILE:
        raise ConfigError(f"{path}: {len(text):,} characters are too many for a recipe (at most {LONGEST_FILE:,})")
    try:
        values = json.loads(text, object_pairs_hook=_once) if path.suffix == ".json" else _yaml(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}", fix="write a line for each key, such as rank: 16") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: a recipe is a mapping such as `rank: 16`", fix="write a line for each key, such as rank: 16")
    for key, value in values.items():
        place = f"{path}:{_line_of(key, text)}"
        _checked(_known(key, place), value, place)
    return values


def _line_of(key: str, text: str) -> int:
    """The line, from 1, that a key of a flat mapping stands on."""
    written = re.compile(rf"[\s{{,]*[\"']?{re.escape(key)}[\"']?\s*:")
    return next((number for number, line in enumerate(text.splitlines(), 1) if written.match(line)), 1)


def warnings(recipe: Recipe) -> tuple[str, ...]:
    """What is unusual about a recipe, one sentence each (TRAIN-02, TRAIN-03, TRAIN-07)."""
    found = []
    if recipe.epochs > USUAL_EPOCHS:
        found.append(f"{recipe.epochs} epochs: more than {USUAL_EPOCHS} usually overfits; watch eval_loss")
    if recipe.method == "full":
        if recipe.learning_rate > HOT_FULL_RATE:
            found.append(f"learning_rate {recipe.learning_rate:g} is an adapter's; full tuning usually takes 1e-5 to 5e-5")
        return tuple(found)
    if not USUAL_RANKS[0] <= recipe.rank <= USUAL_RANKS[1]:
        found.append(f"rank {recipe.rank} is outside the usual {USUAL_RANKS[0]} to {USUAL_RANKS[1]}")
    if recipe.alpha > 4 * recipe.rank:
        found.append(f"alpha {recipe.alpha} is more than four times rank {recipe.rank}; twice is usual")
    return tuple(found)


def idle(recipe: Recipe, *, held: bool) -> tuple[str, ...]:
    """What of a recipe does nothing on these rows, one sentence each. `held`: whether some are held out."""
    found = [
        *([f"patience: {recipe.patience}"] if recipe.patience is not None else []),
        *(["keep: loss"] if recipe.keep == "loss" and recipe.epochs > 1 else []),
    ]
    return () if held else tuple(f"{what} does nothing: no rows are held out to tell an epoch's loss by" for what in found)


def _yaml(text: str) -> Any:
    """The value of a YAML text; refused are aliases, a few lines of which can fill the memory, and keys that stand twice."""
    import yaml

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"alias *{event.anchor} is not allowed; write the value out")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if isinstance(node, yaml.MappingNode):
            _once([(key.value, None) for key, _ in node.value])
        return yaml.safe_load(text)
    except (yaml.YAMLError, AttributeError, LookupError) as error:  # the latter two of `!!bool maybe`, `!!int ""`
        raise ValueError(error if isinstance(error, yaml.YAMLError) else f"a value does not fit its tag: {error}") from error


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as a mapping. Raises ValueError for a key that stands twice."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if isinstance(key, str) and key in found:
            raise ValueError(f"key {key!r} stands twice; keep one of them")
        found[str(key) if isinstance(key, list) else key] = value
    return found


def _known(key: str, where: str) -> str:
    if key in FIELDS:
        return key
    near = difflib.get_close_matches(key, FIELDS, 1, 0.5)
    raise ConfigError(f"{where}: unknown key {key!r}; known: {', '.join(FIELDS)}", fix=f"write {near[0]!r}" if near else None)


def _typed(key: str, value: Any, where: str) -> Any:
    """The value in the field's type; whole floats become int, ints become float. Strings of numbers are refused but for `2e-5`,
    which PyYAML takes for text."""
    kind = str(FIELDS[key])
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST
    number = whole or (isinstance(value, float) and math.isfinite(value))
    if kind in ("int", "int | None") and number and value == int(value):
        return int(value)
    if kind in ("float", "float | None") and (number or (isinstance(value, str) and SCIENTIFIC.fullmatch(value))):
        return float(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "str" and isinstance(value, str):
        return value
    if kind.endswith("| None") and value is None:
        return None
    if key == "targets":
        names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
        if names and all(isinstance(name, str) and name for name in names):
            return names
    wanted = "a list of module names" if key == "targets" else kind.replace(" | None", " or null")
    shown = "a huge number" if isinstance(value, int) and abs(value) > MOST else repr(value)
    raise ConfigError(f"{where}: {key} must be {wanted}, not {shown}", fix=_usual(key))


def _checked(key: str, value: Any, where: str) -> Any:
    """The value in the field's type, inside its range. Raises ConfigError naming `where`, the key and what to write."""
    typed = _typed(key, value, where)
    low, high = LIMITS.get(key, (-math.inf, math.inf))
    if key in LIMITS and typed is not None and not low <= typed <= high:
        raise ConfigError(f"{where}: {key} must be from {low:.10g} to {high:.10g}, not {typed!r}", fix=_usual(key))
    if key in CHOICES and typed not in CHOICES[key]:
        raise ConfigError(f"{where}: {key} must be one of {', '.join(CHOICES[key])}, not {typed!r}", fix=_usual(key))
    return typed


def _usual(key: str) -> str:
    """The line to write for the product's default."""
    value = getattr(Config(), key)
    return f"write {key}: {value if isinstance(value, str) else json.dumps(value)}"


def _check_together(values: dict[str, Any], where: str) -> None:
    """Refuse values that are fine alone and not beside each other."""
    if values["method"] == "full":
        _check_full(values, where)
    if values["packing"] and values["objective"] == "dpo":
        raise ConfigError(f"{where}: packing and dpo do not go together", fix="set packing to false")


def _check_full(values: dict[str, Any], where: str) -> None:
    for key in ("dora", "rslora", "qlora"):
        if values[key]:
            raise ConfigError(f"{where}: {key} is a kind of adapter, and method: full has none", fix=f"leave out {key}")
    if values["dtype"] == "float16":
        raise ConfigError(f"{where}: method: full loses small gradients in float16", fix="set dtype to bfloat16 or float32")


def _refuse_adapter_values(changes: dict[str, Any], where: str) -> None:
    """Refuse what was written beside `method: full` and would change nothing."""
    given = [key for key in ADAPTER_ONLY if key in changes]
    if given:
        why = f"{where}: {given[0]} belongs to an adapter, and method: full has none"
        raise ConfigError(why, fix=f"leave out {', '.join(given)}")
