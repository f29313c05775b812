from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psutil
import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.text.rendering import render

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
USER = [{"role": "user", "content": "hi"}]
NESTED = "{% for i in 'xxxxxxxxxxxxxxxxxxxx' %}" * 12 + "{% endfor %}" * 12


def shown(template: str, messages: list[dict[str, Any]] = USER, **fields: Any) -> str:
    return render(template, messages, add_generation_prompt=True, **fields)


def test_messages_become_the_training_text() -> None:
    assert shown(CHATML) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert render(CHATML, USER, add_generation_prompt=False) == "<|im_start|>user\nhi<|im_end|>\n"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ bos_token }}{{ messages[0].content }}", "<s>hi"),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}x{% endfor %}.", "."),
        ("{{ tools | tojson }}", '[{"name": "größe"}]'),
        ("{% generation %}{{ messages[0].content | trim }}{% endgeneration %}", "hi"),
        ("{{ strftime_now('%d %b %Y') }}", "02 Jan 2026"),
        ("{%- set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i * 2 %}{% endfor %}{{ ns.n }}", "6"),
        ("{% if undefined_thing is defined %}a{% else %}b{% endif %}", "b"),
    ],
)
def test_what_real_templates_use_works(template: str, text: str) -> None:
    special = {"bos_token": "<s>"}

    assert shown(template, special=special, tools=[{"name": "größe"}], now=lambda: datetime(2026, 1, 2)) == text


def test_a_template_that_refuses_its_messages_says_why() -> None:
    with pytest.raises(ArtifactError, match="roles must alternate"):
        shown("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ '%s' | format(messages) }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ ('%' ~ '1000000000d') % 1 }}",
        "{{ 'a' * 100000000 }}",
        "{{ [1] * 100000000 }}",
        "{{ 2 ** 99999 }}",
        "{{ 9 ** 60 ** 60 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{% for i in range(1000000000) %}{% endfor %}",
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
        "{% for i in range(90000) %}xxxxxxxxxx{% endfor %}",
        "{% set s = 'a' %}{% for i in range(60) %}{% set s = s ~ s %}{% endfor %}{{ nothing.here }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ open('/etc/passwd') }}",
        "{% for m in messages %}",
        "{{",
        "{{ 1 / 0 }}",
        "x" * 300_000,
    ],
)
def test_a_hostile_or_broken_template_is_stopped_at_once(template: str) -> None:
    with pytest.raises(ArtifactError, match="chat template"):
        shown(template)


@pytest.mark.parametrize("template", ["{{ raise_exception.__globals__ }}", "{{ messages.__doc__ }}", "{{ ''.__class__ }}"])
def test_hidden_attributes_are_simply_not_there(template: str) -> None:
    assert shown(template) == ""


def test_text_that_looks_like_a_template_stays_text() -> None:
    assert "{{7*7}}{% raw %}" in shown(CHATML, [{"role": "user", "content": "{{7*7}}{% raw %}"}])


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (NESTED, "longer than"),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}", "longer than"),
        ("{% set n = namespace(s='aa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}", "."),
        ("{% set n = namespace(s='aa') %}{% for i in range(60) %}{% set n.s = n.s.replace('a', 'aa') %}{% endfor %}", "."),
        ("{{ messages | tojson(indent=2000000000) }}", "."),
        ("{{ 'a' | indent(2000000000, true) }}", "."),
        ("{{ range(100000) | list | string | list | string | list | string | list | string }}", "."),
        ("{% for a in [1] %}" * 30 + "{% endfor %}" * 30, "nested"),
        ("{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}", "."),
    ],
)
def test_a_template_that_does_too_much_is_stopped_and_the_next_one_is_rendered(template: str, why: str) -> None:
    with pytest.raises(ArtifactError, match=f"^chat template: .*{why}"):
        shown(template)

    assert shown(CHATML).startswith("<|im_start|>user")


def test_a_process_that_was_ended_between_two_conversations_is_replaced() -> None:
    shown(CHATML)
    [first] = renderers()
    first.kill()
    first.wait()

    assert shown(CHATML).startswith("<|im_start|>user")

    [second] = renderers()
    assert second.pid != first.pid


def test_threads_and_forks_get_their_own_answers() -> None:
    def texts(name: str) -> set[str]:
        return {shown("{{ messages[0].content }}", [{"role": "user", "content": name}]) for _ in range(20)}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(texts, "abcd")) == [{"a"}, {"b"}, {"c"}, {"d"}]
    before = renderers()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if texts("forked") == {"forked"} else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert (texts("e"), renderers()) == ({"e"}, before)


def renderers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "tunekeeper.text.sandbox" in each.cmdline()]
