"""`load_project`: tunekeeper.yaml and models/*.yaml, the environment and flags, into one frozen `ProjectConfig`."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from tunekeeper.config.fields import build, dotted, leaves, unknown_key
from tunekeeper.config.slots import Serving, checked_section
from tunekeeper.config.yamlfile import Keys, YamlFile, parse_scalar, read_yaml
from tunekeeper.core.errors import ConfigError, NotFound
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.registry import Registry
from tunekeeper.notify.sinkconfig import SinkConfig, doubled

if TYPE_CHECKING:
    from tunekeeper.gateway.config import Config as GatewayConfig
    from tunekeeper.notify.config import Config as NotifyConfig

PROJECT_FILE = "tunekeeper.yaml"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
ROOMS = ("data", "training", "evaluation", "deployment", "serving", "rollout", "monitoring", "retraining")
"""Sections of models/<name>.yaml, by the room that reads them; `serving` is read by whatever commits routes."""
SECTIONS = Registry(
    "section",
    {room: f"tunekeeper.{room}.config:Config" for room in (*ROOMS, "gateway", "notify") if room != "serving"}
    | {"serving": "tunekeeper.config.slots:Serving"},
)
MODEL_KEYS = {
    "model": "name",
    "client": "client",
    "task": "task",
    "base": "base",
    "system": "system",
    "format": "format",
    "level": "level",
}
"""Key of a model file → field of the noun `Model`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerConfig:
    """The `worker:` section of tunekeeper.yaml: the reconciler."""

    enabled: bool = True
    """Whether `up` starts a worker; false where it runs on another machine."""
    tick_seconds: float = 0.25
    """Real seconds between two looks at what is due, 0.1 to 60."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.tick_seconds <= 60:
            raise ConfigError(f"worker.tick_seconds is {self.tick_seconds:g}; it must lie between 0.1 and 60 seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """The `log:` section of tunekeeper.yaml and of the file of `serve`: how long the log is kept, and who else gets it."""

    days: float | None = 395.0
    """Days that records, the feedback on them and their numbers are kept: thirteen months; null: for ever."""
    body_days: float | None = 30.0
    """Days that the text of requests and answers is kept, at most `days`; null: as long as the records."""
    max_gb: float | None = None
    """Disk that the log may take, in GB of 10^9 bytes, at least 0.01: beyond it the oldest texts go, then the oldest hours; null:
    as much as there is."""
    sinks: tuple[SinkConfig, ...] = ()
    """Places that every finished inference is pushed to, e.g. `[{kind: stdout}, {kind: datadog, tags: ['env:live']}]`."""

    def __post_init__(self) -> None:
        for name, value in (("days", self.days), ("body_days", self.body_days)):
            if value is not None and not 0 < value <= 36_500:
                raise ConfigError(f"log.{name} is {value:g}; it must lie above 0 and be at most 36,500 days, or null")
        if self.max_gb is not None and not 0.01 <= self.max_gb <= 1_000_000:
            raise ConfigError(f"log.max_gb is {self.max_gb:g}; it must lie between 0.01 and 1,000,000 GB, or be null")
        if self.days is not None and self.body_days is not None and self.body_days > self.days:
            raise ConfigError(f"log.body_days is {self.body_days:g}, longer than the {self.days:g} days of the records")
        twice = doubled(self.sinks)
        if twice is not None:
            raise ConfigError(f"log.sinks: two are called {twice!r}", fix="give one of them a name:")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One models/<name>.yaml."""

    task: Model
    """The noun: name, client, task, base, system prompt, answer format, level."""
    sections: dict[str, Any]
    """Room → its frozen `Config`; every room of ROOMS is there, with its defaults where the file says nothing."""
    file: YamlFile
    """What was read, for messages and origins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectConfig:
    """Everything the user's files say."""

    folder: Path
    """The folder that holds tunekeeper.yaml."""
    name: str
    """Name of the project; the folder's name when the file gives none."""
    gateway: GatewayConfig
    """The `gateway:` section."""
    notify: NotifyConfig
    """The `notify:` section."""
    worker: WorkerConfig
    """The `worker:` section."""
    log: LogConfig
    """The `log:` section."""
    models: dict[str, ModelConfig]
    """Model name → its file."""
    file: YamlFile
    """tunekeeper.yaml as it was read."""
    overridden: dict[str, str] = field(default_factory=dict)
    """Dotted key → the variable or flag that set it."""

    def model(self, name: str) -> ModelConfig:
        """The model called `name`. Raises NotFound with the near name."""
        found = self.models.get(name)
        if found is not None:
            return found
        near = difflib.get_close_matches(name, self.models, 1)
        known = ", ".join(self.models) or "none yet"
        way = f"write models/{name}.yaml" if MODEL_NAME.fullmatch(name) else "tunekeeper status names them"
        raise NotFound(f"no model is called {name!r}; known: {known}", fix=f"write {near[0]!r}" if near else way)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """One value and where it came from."""

    key: str
    """E.g. `gateway.port` or `support-desk.training.rank`."""
    value: Any
    """The value in force."""
    origin: str
    """`default`, `tunekeeper.yaml:7`, `TUNEKEEPER_GATEWAY_PORT` or `--port`."""


def load_project(
    folder: Path,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    sections: Mapping[str, type] | None = None,
) -> ProjectConfig:
    """Read a project. `environ`: default the process's own; `flags`: dotted key → value, e.g. `{"gateway.port": 0}`; None is not
    given.

    `sections`: room → dataclass, in place of the table's. Precedence: flag, environment, `.env`, file, default. Raises
    ConfigError with file, line and field; NotFound without tunekeeper.yaml.
    """
    path = folder / PROJECT_FILE
    if not path.is_file():
        raise NotFound(f"no {PROJECT_FILE} in {folder}", fix=f"tunekeeper init {quote(str(folder))}")
    file = read_yaml(path, name=PROJECT_FILE)
    known = ["project", "gateway", "notify", "worker", "log"]
    for key in file.values:
        if key not in known:
            raise unknown_key(key, known, file, (key,))
    name = file.values.get("project") or folder.resolve().name
    if not isinstance(name, str):
        raise ConfigError(f"{file.at(('project',))}: project: expected text", fix="put the value in quotes")
    overridden: dict[str, str] = {}
    variables = environment(folder, os.environ if environ is None else environ)
    parts: dict[str, Any] = {}
    for section, kind in (
        ("gateway", _kind("gateway", sections)),
        ("notify", _kind("notify", sections)),
        ("worker", WorkerConfig),
        ("log", LogConfig),
    ):
        values = (
            dict(file.values.get(section) or {}) if isinstance(file.values.get(section), dict | None) else file.values[section]
        )
        build(kind, values, file, (section,))
        parts[section] = build(kind, _override(section, kind, values, variables, flags or {}, overridden), file, (section,))
        if hasattr(parts[section], "located"):
            parts[section] = parts[section].located(folder)
    return ProjectConfig(
        folder=folder, name=name, models=_load_models(folder, sections), file=file, overridden=overridden, **parts
    )


def load_model(path: Path, *, name: str | None = None, sections: Mapping[str, type] | None = None) -> ModelConfig:
    """Read one model file; `name` is how messages call it. Raises ConfigError."""
    file = read_yaml(path, name=name)
    known = [*MODEL_KEYS, *ROOMS]
    for key in file.values:
        if key not in known:
            raise unknown_key(key, known, file, (key,))
    stem = path.name.removesuffix(".yaml")
    if file.values.get("model", stem) != stem:
        raise ConfigError(
            f"{file.at(('model',))}: model: {file.values['model']!r} stands in a file called {path.name}", fix=f"write {stem!r}"
        )
    if not MODEL_NAME.fullmatch(stem):
        raise ConfigError(
            f"{file.name}: {stem!r} cannot name a model", fix="use small letters, digits, '.', '-' and '_', at most 63"
        )
    fields = {MODEL_KEYS[key]: value for key, value in file.values.items() if key in MODEL_KEYS}
    task = build(Model, {**fields, "name": stem}, file)
    if not 1 <= task.level <= 4:
        raise ConfigError(f"{file.at(('level',))}: level: {task.level} is not a maturity level", fix="write 1, 2, 3 or 4")
    if task.format:
        from tunekeeper.scoring import formats  # on first use: most processes that read a project check no answer

        formats.validate(task.format, f"{file.at(('format',))}: format")
    parts: dict[str, Any] = {room: build(_kind(room, sections), _section(file, room), file, (room,)) for room in ROOMS}
    if isinstance(parts["serving"], Serving):
        parts["serving"] = checked_section(stem, parts["serving"], file, ("serving",))
    if hasattr(parts["data"], "located"):
        parts["data"] = parts["data"].located(path.parent.parent)
    return ModelConfig(task=task, sections=parts, file=file)


def environment(folder: Path, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with what the project's `.env` adds; `base` wins. Lines are `NAME=value`, `#` a comment. Raises ConfigError."""
    path = folder / ".env"
    if not path.is_file():
        return dict(base)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f".env: not UTF-8 at byte {error.start + 1}", fix="save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f".env: cannot be read: {error.strerror}", fix=f"let this user read {path}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name.strip()):
            raise ConfigError(f".env:{number}: expected NAME=value")
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        found[name.strip()] = value[1:-1] if quoted else value
    return {**found, **base}


def origins(config: ProjectConfig) -> list[Origin]:
    """Every value in force and where it came from, in file order."""
    found = [Origin(key="project", value=config.name, origin=_origin(config.file, ("project",)))]
    for section in ("gateway", "notify", "worker", "log"):
        for keys, value in leaves(getattr(config, section), (section,)):
            key = dotted(keys)
            found.append(Origin(key=key, value=value, origin=config.overridden.get(key) or _origin(config.file, keys)))
    for name, model in config.models.items():
        names = {field: key for key, field in MODEL_KEYS.items()}
        for keys, value in leaves(model.task):
            found.append(
                Origin(key=f"{name}.{names[str(keys[0])]}", value=value, origin=_origin(model.file, (names[str(keys[0])],)))
            )
        for room, section in model.sections.items():
            found += [
                Origin(key=f"{name}.{dotted(k)}", value=v, origin=_origin(model.file, k)) for k, v in leaves(section, (room,))
            ]
    return found


def _origin(file: YamlFile, keys: Keys) -> str:
    return file.at(keys) if keys in file.lines else "default"


def _kind(name: str, sections: Mapping[str, type] | None) -> type:
    kind: type = SECTIONS.load(name) if sections is None or name not in sections else sections[name]
    return kind


def _section(file: YamlFile, room: str) -> Any:
    values = file.values.get(room)
    return {} if values is None else values


def _load_models(folder: Path, sections: Mapping[str, type] | None) -> dict[str, ModelConfig]:
    models = {}
    for path in sorted((folder / "models").glob("*")):
        if path.suffix == ".yml":
            raise ConfigError(f"models/{path.name}: would be passed over", fix=f"rename it to {path.stem}.yaml")
        if path.suffix == ".yaml" and not path.name.startswith("."):
            model = load_model(path, name=f"models/{path.name}", sections=sections)
            models[model.task.name] = model
    return models


def _override(
    section: str,
    kind: type,
    values: dict[str, Any],
    variables: Mapping[str, str],
    flags: Mapping[str, Any],
    overridden: dict[str, str],
) -> dict[str, Any]:
    """`values` with what variables and flags set; each is checked alone first, so that a message names it and not a line of the
    file.
    """
    for keys in _paths(kind, (section,)):
        key = dotted(keys)
        variable = "TUNEKEEPER_" + "_".join(str(step) for step in keys).upper()
        for source, given in ((variable, variables.get(variable)), (f"--{str(keys[-1]).replace('_', '-')}", flags.get(key))):
            if given is None:
                continue
            value = parse_scalar(given) if source == variable else given
            build(kind, _nest(keys[1:], value, {}), YamlFile(name=source, values={}), (section,))
            values = _nest(keys[1:], value, values)
            overridden[key] = source
    return values


def _paths(kind: type, keys: Keys) -> list[Keys]:
    """Paths of all plain fields of a dataclass, going into fields that are dataclasses by default."""
    found: list[Keys] = []
    for each in dataclasses.fields(kind):
        default = each.default if each.default is not dataclasses.MISSING else None
        if each.default_factory is not dataclasses.MISSING:
            default = each.default_factory()
        here = (*keys, each.name)
        found += _paths(type(default), here) if dataclasses.is_dataclass(default) else [here]
    return found


def _nest(keys: Keys, value: Any, values: dict[str, Any]) -> dict[str, Any]:
    if len(keys) == 1:
        return {**values, str(keys[0]): value}
    inner = values.get(str(keys[0]))
    return {**values, str(keys[0]): _nest(keys[1:], value, inner if isinstance(inner, dict) else {})}
