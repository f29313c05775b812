from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from tunekeeper.config.fields import build, dotted, leaves, steps
from tunekeeper.config.yamlfile import parse_yaml
from tunekeeper.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    percent: float
    hours: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    rank: int = 16
    name: str = "x"
    mode: Literal["a", "b"] = "a"
    steps: tuple[Step, ...] = ()
    limits: dict[str, Step] = field(default_factory=dict)
    inner: Step = Step(percent=1)
    maybe: Step | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError("rank must be positive", fix="write 16")


def made(text: str) -> Section:
    file = parse_yaml(text.encode(), "m.yaml")
    return build(Section, file.values.get("s", {}), file, ("s",))


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        made(text)
    return str(caught.value)


def test_a_section_is_built_from_plain_values():
    found = made("s:\n  rank: 8\n  steps: [{percent: 5}]\n  limits: {a: {percent: 2}}\n  maybe: {percent: 3}\n")
    assert found == Section(rank=8, steps=(Step(percent=5),), limits={"a": Step(percent=2)}, maybe=Step(percent=3))


def test_an_unknown_key_is_named_with_the_near_one():
    assert refused("s:\n  rnak: 8\n") == "m.yaml:2: unknown key 'rnak' in s (fix: write 'rank')"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("s:\n  steps:\n    - percent: 5\n    - {percnt: 5}\n", "m.yaml:4: unknown key 'percnt' in s.steps[1]"),
        ("s:\n  limits:\n    a: {percnt: 5}\n", "m.yaml:3: unknown key 'percnt' in s.limits.a"),
        ("s:\n  inner: {percnt: 5}\n", "m.yaml:2: unknown key 'percnt' in s.inner"),
        ("s:\n  maybe: {percnt: 5}\n", "m.yaml:2: unknown key 'percnt' in s.maybe"),
    ],
)
def test_unknown_keys_are_found_at_any_depth(text, place):
    assert refused(text) == f"{place} (fix: write 'percent')"


BELOW = " (fix: write s: on a line of its own, its keys indented below it, or leave it out)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s:\n  rank: fast\n", "m.yaml:2: s.rank: expected int, got str (fix: write a whole number without quotes)"),
        ("s:\n  rank: 1.5\n", "m.yaml:2: s.rank: expected int, got float (fix: write a whole number without quotes)"),
        ("s:\n  name: 5\n", "m.yaml:2: s.name: expected str, got int (fix: put the value in quotes)"),
        ("s:\n  name: yes\n", "m.yaml:2: s.name: expected str, got bool (fix: put the value in quotes)"),
        ("s:\n  mode: c\n", "m.yaml:2: s.mode: invalid enum value 'c' (fix: known: a, b)"),
        (
            "s:\n  steps:\n    - percent: 5\n    - percent: x\n",
            "m.yaml:4: s.steps[1].percent: expected float, got str (fix: write a number without quotes)",
        ),
        ("s:\n  inner: {}\n", "m.yaml:2: s.inner: object missing required field percent"),
        ("s: [1]\n", f"m.yaml:1: s: expected keys and values, got list{BELOW}"),
        ("s:\n", f"m.yaml:1: s: expected keys and values, got nothing{BELOW}"),
    ],
)
def test_a_wrong_type_is_named_with_file_line_and_field(text, said):
    assert refused(text) == said


def test_a_sections_own_check_is_told_with_the_place():
    assert refused("s:\n  rank: 0\n") == "m.yaml:1: rank must be positive (fix: write 16)"


def test_paths_are_written_as_people_write_them():
    assert dotted(("a", "b", 0, "c")) == "a.b[0].c"
    assert steps("$.a[0].b") == ("a", 0, "b")
    assert steps("$.a[...].b") == ("a",)
    assert dict(leaves(Section()))[("inner", "percent")] == 1
