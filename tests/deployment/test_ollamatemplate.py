from __future__ import annotations

import pytest

from tests.deployment.ollama import BASE
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment import gotemplate
from tunekeeper.deployment.ollamatemplate import Dialect, check, convert, expected
from tunekeeper.text.tokenizers import read_tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}{%- else %}"
    "{{- '<|im_start|>system\nYou are Qwen.<|im_end|>\n' }}{%- endif %}{%- for m in messages %}"
    "{%- if m.role != 'system' or not loop.first %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
LLAMA3 = (
    "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim "
    "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set lead = messages[0]['content'] + '\n\n' -%}"
    "{%- set rest = messages[1:] -%}{%- else -%}{%- set lead = '' -%}{%- set rest = messages -%}{%- endif -%}"
    "{%- for m in rest -%}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' + (lead if loop.first "
    "else '') }}{{ m['content'] | trim }}{{ '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{'<start_of_turn>model\n'}}{%- endif -%}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% else %}{{ raise_exception('r') }}{% endif %}{% endfor %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}"
    "{% set rest = messages %}{% set system = false %}{% endif %}{% for m in rest %}"
    "{% if loop.index0 == 0 and system != false %}{% set text = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m['content'] %}"
    "{% else %}{% set text = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text + ' [/INST]' }}"
    "{% else %}{{ ' ' + text + ' ' + eos_token }}{% endif %}{% endfor %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
QWEN3 = (
    "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{%- endif %}"
    "{%- set ns = namespace(open=true, last=messages|length - 1) %}{%- for m in messages[::-1] %}"
    "{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.open and m.role == 'user' %}{%- set ns.open = false %}"
    "{%- set ns.last = index %}{%- endif %}{%- endfor %}{%- for m in messages %}"
    "{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
    "{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- elif m.role == 'assistant' %}"
    "{%- set content = m.content.split('</think>')[-1].lstrip('\n') if '</think>' in m.content else m.content %}"
    "{%- if loop.index0 > ns.last %}{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' + content }}"
    "{%- else %}{{- '<|im_start|>assistant\n' + content }}{%- endif %}{{- '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
BRACES = "{% for m in messages %}{{ '{{' + m.role + '}} {' + m.content + '\"\"\"\n{' }}{% endfor %}{{ 'X{' }}"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TALK = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "one {{ two }}"},
    {"role": "assistant", "content": "three"},
    {"role": "user", "content": "four"},
]


def dialect(template: str, *, adds_bos: bool = False) -> Dialect:
    return Dialect(template=template, special=SPECIAL, adds_bos=adds_bos)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize(
    "template", [LLAMA3, GEMMA, GEMMA3, MISTRAL, LLAMA2], ids=["llama3", "gemma", "gemma3", "mistral", "llama2"]
)
def test_a_family_with_a_first_token_is_written_in_go_with_it_where_the_server_adds_none(template: str, bos: bool) -> None:
    made, talk = convert(dialect(template, adds_bos=bos)), TALK if template not in (GEMMA, MISTRAL) else TALK[1:]
    text = gotemplate.chat(made.template, talk)
    assert text == expected(dialect(template, adds_bos=bos), talk)
    assert text.startswith("<s>") is not bos


@pytest.mark.parametrize("template", [CHATML, QWEN, QWEN3, PHI, BRACES, read_tokenizer(BASE).template], ids=str)
def test_a_family_without_one_is_written_in_go(template: str) -> None:
    made = convert(dialect(template))
    for talk in (TALK, TALK[1:], TALK[:2]):
        assert gotemplate.chat(made.template, talk) == expected(dialect(template), talk)
    assert made.notes == ()


def test_what_ollama_does_differently_is_noted() -> None:
    assert any("trims" in note for note in convert(dialect(LLAMA3)).notes)
    assert any("no system message" in note for note in convert(dialect(GEMMA)).notes)
    assert any("tools" in note for note in convert(dialect(CHATML + "{% if tools %}{{ tools }}{% endif %}")).notes)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ strftime_now('%d %b %Y') + m.content }}{% endfor %}", "today's date"),
        ("{{ messages[-1].content }}", "not once, in its place"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "not once, in its place"),
        ("{% for m in messages %}[{{ m.content | upper }}]{% endfor %}", "not once, in its place"),
        ("{% for m in messages %}[{{ m.content | replace('Größe', 'x') }}]{% endfor %}", "where training wrote"),
        ("{% for m in messages %}[{{ loop.index }}{{ m.content }}]{% endfor %}", "begins with|where training wrote"),
        ("{% for m in messages %}{{ m.content }}{{ messages | length }}{% endfor %}", "where training wrote"),
        ("{{ raise_exception('never') }}", "never"),
    ],
)
def test_a_template_that_go_cannot_say_is_refused(template: str, why: str) -> None:
    with pytest.raises(ArtifactError, match=why) as error:
        convert(dialect(template))
    assert "\n" not in str(error.value)


def test_a_first_token_that_training_never_saw_is_refused() -> None:
    with pytest.raises(ArtifactError, match="puts before every prompt"):
        convert(dialect(CHATML, adds_bos=True))


def test_a_template_of_ones_own_is_held_to_training_and_to_its_transcript() -> None:
    right = convert(dialect(CHATML)).template
    assert check(dialect(CHATML), right) == ()
    with pytest.raises(ArtifactError, match=r"would write .* where training wrote .*user, character"):
        check(dialect(CHATML), right.replace("<|im_end|>\n", "<|im_end|>"))
    with pytest.raises(ArtifactError, match="where training wrote 'other'"):
        check(dialect(CHATML), right, [(TALK, "other")])
