from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.settings import TABLE, describe, load_settings, read_dotenv


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TUNEKEEPER_DATA=/file\nTUNEKEEPER_GATEWAY_KEY='from file'\nTUNEKEEPER_LOG_LEVEL=debug\n")
    environ = {"TUNEKEEPER_DATA": "/env", "TUNEKEEPER_LOG_LEVEL": "warning"}
    found = load_settings({"data": "/flag", "log_level": None}, environ, file)
    assert (found.data, found.log_level, found.gateway_key, found.no_color) == (Path("/flag"), "warning", "from file", False)
    assert found.origin == {
        "data": "flag",
        "log_level": "env",
        "gateway_key": ".env",
        "no_color": "default",
        "database_url": "default",
    }


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    found = load_settings({}, {}, tmp_path / ".env")
    assert (found.data, found.database_url, found.gateway_key, found.log_level, found.no_color) == (
        None,
        None,
        None,
        "info",
        False,
    )
    assert set(found.origin.values()) == {"default"}


def test_a_value_that_is_not_offered_is_named_with_its_origin() -> None:
    with pytest.raises(ConfigError, match=r"TUNEKEEPER_LOG_LEVEL is 'loud' \(from env\); it may be debug, info"):
        load_settings({}, {"TUNEKEEPER_LOG_LEVEL": "loud"})


def test_any_value_of_no_color_but_the_empty_one_counts() -> None:
    assert load_settings({}, {"NO_COLOR": "0"}).no_color
    assert not load_settings({}, {"NO_COLOR": ""}).no_color


def test_a_dotenv_file_may_hold_comments_exports_and_quotes(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# note\n\nexport A=1\nB = \"two words\"\nC='x=y#z'\nD=\n")
    assert read_dotenv(file) == {"A": "1", "B": "two words", "C": "x=y#z", "D": ""}


def test_a_broken_line_of_a_dotenv_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=1\nwhat is this\n")
    with pytest.raises(ConfigError, match=r"\.env:2"):
        read_dotenv(file)


def test_a_description_says_where_each_value_came_from_and_shows_no_secret() -> None:
    rows = {row["name"]: row for row in describe(load_settings({"data": "/d"}, {"TUNEKEEPER_GATEWAY_KEY": "hush"}))}
    assert list(rows) == [setting.name for setting in TABLE]
    assert (rows["data"]["value"], rows["data"]["origin"]) == ("/d", "flag")
    assert (rows["gateway_key"]["value"], rows["gateway_key"]["origin"]) == ("set", "env")
    assert rows["database_url"]["value"] is None
    assert "hush" not in str(rows)
