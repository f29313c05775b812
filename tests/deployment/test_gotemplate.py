from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.gotemplate import chat, literal, parse, render

TALK = [{"Role": "system", "Content": "S"}, {"Role": "user", "Content": "U"}]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain { text }", "plain { text }"),
        ("{{ .System }}!", "S!"),
        ("a {{- /* gone */ -}} b", "ab"),
        ("a \n{{- .System -}} \n b", "aSb"),
        ('{{ "a\\n\\"}}" }}{{ `raw\\n` }}', 'a\n"}}raw\\n'),
        ("{{ range .Messages }}{{ .Role }}:{{ .Content }};{{ end }}", "system:S;user:U;"),
        ("{{ range $i, $m := .Messages }}{{ $i }}{{ $m.Content }}{{ end }}", "0S1U"),
        ("{{ range $m := .Messages }}{{ $m.Role }}{{ end }}", "systemuser"),
        ("{{ range .None }}x{{ else }}none{{ end }}", "none"),
        ("{{ if .System }}yes{{ else }}no{{ end }}", "yes"),
        ('{{ range .Messages }}{{ if eq .Role "a" "user" }}1{{ else if eq .Role "system" }}2{{ else }}3{{ end }}{{ end }}', "21"),
        ("{{ $x := false }}{{ range .Messages }}{{ if $x }}later{{ end }}{{ $x = true }}{{ end }}", "later"),
        ("{{ if true }}{{ $x := 1 }}{{ $x }}{{ end }}", "1"),
        ('{{ (index .Messages 1).Content }}{{ if ne (index .Messages 0).Role "user" }}!{{ end }}', "U!"),
        ("{{ if and .System (not .None) (or .None true) }}ok{{ end }}", "ok"),
        ("{{ len .Messages }}{{ len .Messages | eq 2 }}", "2true"),
        ("{{ with .System }}[{{ . }}]{{ end }}{{ with .None }}x{{ else }}-{{ end }}", "[S]-"),
        ("{{ range $i, $_ := .Messages }}{{ if eq (len (slice $.Messages $i)) 1 }}last{{ end }}{{ end }}", "last"),
        ("{{ json .System }}{{ 1.5 }}{{ lt 1 2 }}{{ ge 1 2 }}{{ nil }}", '"S"1.5truefalse<no value>'),
    ],
)
def test_what_is_known_is_rendered_as_go_does(template: str, text: str) -> None:
    assert render(template, {"Messages": TALK, "System": "S", "None": []}) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ if .A }}", "{{ end }}", "{{ else }}", "{{ range .A }}{{ else nonsense }}{{ end }}", "{{ .A", "{{ }}", "{{ § }}",
        "{{ (len .A }}", "{{ .A | }}", "{{ trim .A }}", "{{ $x }}", "{{ $x = 1 }}", "{{ index .A 7 }}", "{{ .A 1 }}",
        "{{ index .A -1 }}", "{{ .A.B.C }}", "{{ len 3 }}", '{{ "open }}', "{{ if .A }}{{ else }}{{ else }}{{ end }}",
    ],
)  # fmt: skip
def test_what_is_wrong_or_not_known_is_refused(template: str) -> None:
    with pytest.raises(ArtifactError, match=r"^template: "):
        render(template, {"A": ["a"]})


def test_a_template_without_end_is_refused_before_it_is_read() -> None:
    with pytest.raises(ArtifactError, match="are allowed"):
        parse("x" * (1 << 19))


def test_neighbours_of_one_role_are_joined_as_ollama_joins_them() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    template = "{{ .System }}{{ range .Messages }}<{{ .Content }}>{{ end }}"
    assert chat(template, messages) == "<a\n\nb>"
    assert chat(template, [{"role": "system", "content": "s"}, {"role": "user", "content": None}]) == "s<s><>"


@pytest.mark.parametrize("text", ["{{", "a{", '"""\n', 'x {{ "y" }} \\', "plain", "tab\tünï {{\u2028"])
def test_a_literal_is_written_as_it_is(text: str) -> None:
    assert render(literal(text) + "{{ .A }}", {"A": "!"}) == text + "!"


def test_a_template_of_ranges_inside_ranges_is_ended() -> None:
    messages = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    with pytest.raises(ArtifactError, match="more than 20,000 pieces"):
        chat("{{ range $.Messages }}" * 40 + "x" + "{{ end }}" * 40, messages)


@pytest.mark.parametrize("template", ["{{" + ' "a" `b`' * 200, "{{ " * 900 + '"', "{{ . }}" * 1001])
def test_a_template_of_open_quotes_or_of_actions_without_end_is_refused_at_once(template: str) -> None:
    with pytest.raises(ArtifactError):
        render(template, {"A": 1})


def test_brackets_with_nothing_in_them_are_refused() -> None:
    with pytest.raises(ArtifactError, match="nothing in them"):
        render("{{ len () }}", {})
