from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.config.yamlfile import parse_scalar, parse_yaml, read_yaml
from tunekeeper.core.errors import ConfigError


def refused(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        parse_yaml(data, "f.yaml")
    return str(caught.value)


def test_every_value_has_the_line_it_stands_on():
    file = parse_yaml(b"a: 1\nb:\n  - x\n  - c: {d: 2}\n", "f.yaml")
    assert file.values == {"a": 1, "b": ["x", {"c": {"d": 2}}]}
    assert [file.line(keys) for keys in [("a",), ("b", 0), ("b", 1, "c", "d")]] == [1, 3, 4]
    assert file.at(("b", 1, "c", "unknown")) == "f.yaml:4"


def test_a_key_that_stands_twice_is_refused_with_both_lines():
    assert refused("a: 1\nb: 2\na: 3\n") == "f.yaml:3: key 'a' stands twice, first in line 1 (fix: keep one of them)"


def test_an_alias_bomb_is_refused_at_its_first_alias():
    bomb = "a: &a [x, x]\n" + "".join(
        f"{n}: &{n} [{', '.join(['*' + m] * 9)}]\n" for m, n in ["ab", "bc", "cd", "de", "ef", "fg", "gh"]
    )
    assert refused(bomb).startswith("f.yaml:2: aliases (*name) are not allowed")


def test_a_tag_that_builds_an_object_is_refused():
    assert "f.yaml:1" in refused('a: !!python/object/apply:os.system ["true"]\n')


@pytest.mark.parametrize("key", ["on", "no", "null", "? [a]\n", "<<"])
def test_a_key_that_is_not_text_is_refused(key):
    assert "is not text" in refused(f"{key}: 1\n")


def test_what_is_no_mapping_is_refused():
    assert refused("- a\n").startswith("f.yaml:1: expected keys and values")
    assert parse_yaml(b"", "f.yaml").values == {}


def test_broken_text_is_refused_with_its_line():
    assert refused("a: 1\nb: [1, 2\nc: 3\n").startswith("f.yaml:3:")
    assert refused(b"a: 1\nb: \xff\n") == "f.yaml:2: not UTF-8 (fix: save the file as UTF-8)"
    assert refused("a: 1\n---\nb: 2\n").startswith("f.yaml:2:")
    assert refused("a: \x07\n").startswith("f.yaml")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("a: [1, 2\n", "close what that line or one before it opens, or put the value in quotes"),
        ("a:\n\tb: 1\n", "indent it with blanks, a tab is none"),
        ("- a\n", "write lines such as `key: value`"),
        ("just words\n", "write lines such as `key: value`"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_what_mends_it(text, fix):
    assert refused(text).endswith(f"(fix: {fix})")


def test_deep_nesting_is_refused_before_the_stack_ends():
    assert "nested too deeply" in refused("a: " + "[" * 5000 + "]" * 5000)


def test_a_date_stays_the_text_that_was_written():
    assert parse_yaml(b"a: 2026-01-05\n", "f.yaml").values == {"a": "2026-01-05"}


def test_a_file_that_cannot_be_read_or_is_too_long_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory \(fix: name a YAML file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "long.yaml").write_bytes(b"# " + b"x" * 1_000_001)
    with pytest.raises(ConfigError, match="too many for a configuration file"):
        read_yaml(tmp_path / "long.yaml")


def test_a_scalar_is_read_as_in_a_file():
    assert (parse_scalar("8080"), parse_scalar("true"), parse_scalar("[a, b]"), parse_scalar("x y")) == (
        8080,
        True,
        ["a", "b"],
        "x y",
    )
    with pytest.raises(ConfigError):
        parse_scalar("[a")


def test_a_number_may_be_written_with_an_exponent_and_no_point():
    assert parse_yaml(b"a: 2e-5\nb: 1E+3\nc: '2e-5'\nd: 2e-5x\n", "f.yaml").values == {
        "a": 2e-5,
        "b": 1e3,
        "c": "2e-5",
        "d": "2e-5x",
    }


@pytest.mark.parametrize(
    "value", ["!!bool maybe", "!!int ''", "!!float ''", "!!timestamp x", "2026-13-45", "9" * 5000, "0x" + "f" * 5000]
)
def test_a_value_that_does_not_fit_its_tag_is_told_with_its_line(value):
    with pytest.raises(ConfigError, match=r"f\.yaml:2: (.* cannot be read as|a number of)"):
        parse_yaml(b"b: 1\na: " + value.encode(), "f.yaml")


def test_a_scalar_is_a_value_text_or_refused():
    assert parse_scalar("2026-01-05") == "2026-01-05"
    for text in ("2026-13-45", "!!bool maybe", "!!int ''", "9" * 5000, "[" * 5000):
        with pytest.raises(ConfigError, match="is not a value"):
            parse_scalar(text)
