"""Options go from the supervisor to its workers through one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.gateway.config import Config
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.options import Options, load_options, options_of, write_options


def test_what_was_written_is_read_and_only_the_owner_may(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    config = Config(durability="power", limits=Limits(body_mb=1.5), redact=())
    options = options_of(config, require_key=True, static_key="ab", seals={"desk": "key"})
    assert options.seals == {"desk": "key"}
    write_options(path, options)
    assert load_options(path) == options
    assert options.probe_seconds == Config().probe_seconds == 60
    assert path.stat().st_mode & 0o077 == 0


def test_without_a_file_the_defaults_count() -> None:
    assert load_options(None) == Options()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "truncated"),
        ('{"limit":{}}', "limit"),
        ('{"durability":"soon"}', "durability"),
        ('{"limits":{"body_mb":-1}}', "body_mb"),
        ("[]", "object"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        load_options(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json"):
        load_options(tmp_path / "none.json")


@pytest.mark.parametrize(("name", "value"), [("workers", 0), ("workers", 65), ("port", -1), ("port", 65_536)])
def test_a_port_and_a_number_of_workers_that_cannot_be_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"gateway.{name} is {value}") as refused:
        Config(**{name: value})  # type: ignore[arg-type]
    assert str(refused.value.fix).startswith("write a number from ")


def test_a_time_before_a_probe_cannot_be_negative() -> None:
    with pytest.raises(ConfigError, match=r"gateway.probe_seconds is -1; write 0 or more seconds"):
        Config(probe_seconds=-1)
