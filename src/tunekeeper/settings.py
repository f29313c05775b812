"""Process settings: one table. A flag wins over the environment, that over `.env`, that over the default.

Read once at start; nothing looks at the environment afterwards. What a model or the project needs stands in its YAML instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunekeeper.core.errors import ConfigError

Origin = Literal["flag", "env", ".env", "default"]
_LEVELS = ("debug", "info", "warning", "error")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One process setting."""

    name: str
    """Name in `Settings` and, with hyphens, of the flag."""
    env: str
    """Environment variable."""
    default: str
    """What holds when nobody says anything; empty: nothing."""
    help: str
    """One line."""
    choices: tuple[str, ...] = ()
    """What it may be; empty: anything."""
    secret: bool = False
    """Whether its value is never printed."""


TABLE = (
    Setting(name="data", env="TUNEKEEPER_DATA", default="", help="data directory; empty: .tunekeeper in the project"),
    Setting(
        name="database_url",
        env="TUNEKEEPER_DATABASE_URL",
        default="",
        help="PostgreSQL URL in place of the two SQLite files",
        secret=True,
    ),
    Setting(
        name="gateway_key",
        env="TUNEKEEPER_GATEWAY_KEY",
        default="",
        help="key that clients of the gateway must send",
        secret=True,
    ),
    Setting(
        name="log_level", env="TUNEKEEPER_LOG_LEVEL", default="info", help="least severe line to print on stderr", choices=_LEVELS
    ),
    Setting(name="no_color", env="NO_COLOR", default="", help="anything but empty: no colours"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Every process setting, and where each came from."""

    data: Path | None
    """Data directory; None: `.tunekeeper` in the project."""
    database_url: str | None
    """PostgreSQL URL; None: SQLite files in the data directory."""
    gateway_key: str | None
    """Key that gateway clients must send."""
    log_level: str
    """debug, info, warning or error."""
    no_color: bool
    """Whether output stays without colours."""
    origin: dict[str, Origin]
    """Name → where its value came from."""


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str], dotenv: Path | None = None) -> Settings:
    """The settings of this process. `flags`: name → value given on the command line, None when not given. `environ`: the
    environment. `dotenv`: a `.env` file, read when it exists. Raises ConfigError naming the setting, or file and line."""
    file = read_dotenv(dotenv) if dotenv is not None and dotenv.is_file() else {}
    values: dict[str, str] = {}
    origin: dict[str, Origin] = {}
    for setting in TABLE:
        value, source = _pick(setting, flags, environ, file)
        if setting.choices and value not in setting.choices:
            raise ConfigError(f"{setting.env} is {value!r} (from {source}); it may be {', '.join(setting.choices)}")
        values[setting.name], origin[setting.name] = value, source
    return Settings(
        data=Path(values["data"]) if values["data"] else None,
        database_url=values["database_url"] or None,
        gateway_key=values["gateway_key"] or None,
        log_level=values["log_level"],
        no_color=bool(values["no_color"]),
        origin=origin,
    )


def read_dotenv(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a file; `#` starts a comment line, quotes around a value are dropped. Raises ConfigError with
    file and line for anything else."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise ConfigError(f"{path.name}:{number}: not NAME=value", fix="write NAME=value, or # before a comment")
        found[match[1]] = _unquoted(match[2].strip())
    return found


def describe(settings: Settings) -> list[dict[str, Any]]:
    """Every setting as `{name, env, value, origin, help}`; secrets show only whether they are set."""
    rows = []
    for setting in TABLE:
        value = getattr(settings, setting.name)
        shown = ("set" if value else None) if setting.secret else (str(value) if isinstance(value, Path) else value)
        rows.append(
            {
                "name": setting.name,
                "env": setting.env,
                "value": shown,
                "origin": settings.origin[setting.name],
                "help": setting.help,
            }
        )
    return rows


def _pick(
    setting: Setting, flags: Mapping[str, str | None], environ: Mapping[str, str], file: Mapping[str, str]
) -> tuple[str, Origin]:
    given = flags.get(setting.name)
    if given is not None:
        return given, "flag"
    if setting.env in environ:
        return environ[setting.env], "env"
    if setting.env in file:
        return file[setting.env], ".env"
    return setting.default, "default"


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
