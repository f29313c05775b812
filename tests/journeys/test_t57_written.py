"""T57: what people and other tools write (suites, recipes, projects, formats, templates, records, tokenizers), damaged: one clear
line, or what it says."""

from __future__ import annotations

import json
import random
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from tests.journeys.fuzz import Found, fuzz
from tests.journeys.rig import SECONDS, figure, say
from tests.outside.conftest import REPOSITORY
from tunekeeper.config import load_project
from tunekeeper.config.project import origins
from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.ids import canonical_json
from tunekeeper.deployment.adapter import open_adapter
from tunekeeper.deployment.checkpoint import open_checkpoint, shape_of
from tunekeeper.deployment.gotemplate import chat
from tunekeeper.deployment.inspect import inspect
from tunekeeper.deployment.modelfile import read as read_modelfile
from tunekeeper.deployment.tokens import tokens_of
from tunekeeper.scoring import formats, load_suite, scorer
from tunekeeper.store.log.imports import read_file
from tunekeeper.text.redaction import Redactor
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import read_tokenizer
from tunekeeper.training.config import Config
from tunekeeper.training.recipe import from_json, read_changes, resolve

SEED = 57_57
BASE = REPOSITORY / "examples" / "support_desk" / "base"
pytestmark = pytest.mark.timeout(SECONDS)
Target = Callable[[bytes, random.Random], None]
Made = Callable[[Path], Target]


def told(check: Callable[[], Any]) -> Any:
    """What `check` says; None where it refuses, which takes one line that says something."""
    said = "one line"
    try:
        return check()
    except TunekeeperError as error:
        said = str(error)
    assert len(said.splitlines()) == 1, said
    return None


# ---- suites and their cases ----

CASE = {"id": "a", "messages": [{"role": "user", "content": "q\u2028"}], "expected": {"n": 1.5}, "category": "c", "tags": ["t"]}
SUITE = {
    "suite": "s",
    "model": "m",
    "scorers": {"exact": None, "word_limit": {"at_most": 9}, "format": {"spec": {"kind": "json", "fields": {"n": []}}}},
    "criteria": [{"metric": "accuracy", "at_least": 0.9}, {"metric": "exact", "margin": 0.05, "blocking": False}],
    "cases": [CASE, {"input": "q", "expected": "a"}],
}
SUITES = [yaml.safe_dump(each, allow_unicode=True).encode() for each in (
    SUITE, {**SUITE, "scorers": ["regex"], "cases": "cases.jsonl"}, {**SUITE, "scorers": {"contains": {"all_of": ["a"]}}},
)] + [b"cases: [{input: a, expected: &x [2026-01-01, *x]}]", b"cases: [{input: !!bool x}]", b"a: !!int ''\n"]  # fmt: skip
CASES = [json.dumps(CASE, ensure_ascii=False).encode() + b"\n" + b'\xef\xbb\xbf{"input":"a"}\n', json.dumps(CASE).encode()]


def suite(folder: Path) -> Target:
    """A suite is refused, or has a digest, and its scorers have an opinion of any answer."""
    (folder / "cases.jsonl").write_bytes(CASES[1])

    def target(data: bytes, rng: random.Random) -> None:
        file = folder / "s.yaml"
        file.write_bytes(data)
        found = told(lambda: load_suite(file))
        if found is not None:
            judges = [scorer(name, **found.scorer_options.get(name, {})) for name in found.scorers]
            for judge in judges:
                for case in found.cases[:3]:
                    value, _ = judge.score(rng.choice(ANSWERS), case) if judge.applies(case) else (None, "")
                    assert value is None or 0 <= value <= 1

    return target


def cases(folder: Path) -> Target:
    """Cases a line each: what is read can be written as JSON again."""
    file = folder / "c.jsonl"

    def target(data: bytes, rng: random.Random) -> None:
        file.write_bytes(data)
        found = told(lambda: load_suite(file))
        for case in found.cases if found is not None else ():
            canonical_json([list(case.messages), case.expected, case.id, list(case.tags)])

    return target


# ---- answer formats ----

ANSWERS = ("", "a b", "5", "1e400", "9" * 500, '{"n": 1, "m": [1e308, {"n": null}]}', '["a", "a", 0.3]', '"\\ud800"', "[" * 3000)
FORMATS = [json.dumps(each).encode() for each in (
    {"kind": "regex", "pattern": "REF-[0-9]{6}"}, {"kind": "json", "fields": {"n": [1, 2], "m": []}, "extra": True},
    {"kind": "schema", "schema": {"type": ["object", "null"], "required": ["n"], "properties": {"n": {"multipleOf": 0.1}},
        "additionalProperties": {"$ref": "#/$defs/m"},
        "$defs": {"m": {"oneOf": [{"type": "array", "items": {"$ref": "#"}}, True]}}}},
    {"kind": "schema", "schema": {"anyOf": [{"enum": [1, "a"]}, {"const": None}, {"not": {"uniqueItems": True, "minItems": 1}}],
        "if": {"contains": {"multipleOf": 3}}, "then": {"patternProperties": {"^n": False}}, "propertyNames": {"maxLength": 2}}},
    {"kind": ["a"]}, {"kind": "schema", "schema": {"$ref": "#/title", "title": "x", "required": [[1]]}},
)]  # fmt: skip


def form(folder: Path) -> Target:
    """A format that is accepted judges any answer."""

    def target(data: bytes, rng: random.Random) -> None:
        spec = decoded(data)
        if spec is not None and told(lambda: formats.validate(spec) or True):
            for answer in (*ANSWERS, data.decode("utf-8", "replace")):
                ok, why = formats.check(answer, spec)
                assert ok is (why == "")

    return target


def decoded(data: bytes) -> dict[str, Any] | None:
    """The JSON object that this is, if any."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


# ---- recipes and projects ----

RECIPE = {"method": "lora", "rank": 8, "targets": ["q_proj"], "learning_rate": 2e-5, "epochs": 2, "patience": None, "dora": False}
RECIPES = [yaml.safe_dump(RECIPE).encode(), json.dumps(RECIPE).encode(), b"learning_rate: 2e-5\nrank: 0x10\nrank: !!bool x\n"]


def recipe(folder: Path) -> Target:
    """A recipe is refused with its file named, or is whole and the same when it is read again."""

    def target(data: bytes, rng: random.Random) -> None:
        file = folder / rng.choice(("r.yaml", "r.json"))
        file.write_bytes(data)
        made = told(lambda: resolve(Config(), read_changes(file)))
        assert made is None or from_json(made.as_json()).digest == made.digest

    return target


PROJECT = {
    "project": "p",
    "gateway": {"port": 8080, "host": "127.0.0.1"},
    "log": {"days": 30, "body_days": 3, "sinks": [{"kind": "stdout"}]},
}
DESK = {
    "task": "triage",
    "base": "base",
    "level": 2,
    "format": {"kind": "json", "fields": {"a": []}},
    "data": {"redact": ["email"]},
    "training": {"rank": 8, "learning_rate": 1e-4},
    "rollout": {"strategy": "canary", "phases": [{"percent": 5, "minutes": 30}]},
    "serving": {"slots": {"a": {"endpoint": "http://h/v1"}}, "route": {"a": 10000}},
}
ENV = b"# a\nexport A='b c'\nTUNEKEEPER_GATEWAY_PORT=8081\nTUNEKEEPER_LOG_DAYS=2026-13-45\n"
PROJECTS = [b"\n%%%\n".join((yaml.safe_dump(PROJECT).encode(), yaml.safe_dump(DESK).encode(), env)) for env in (ENV, b"")]


def project(folder: Path) -> Target:
    """The three files of a project, parted by a line of signs: a value each with its origin, or what is wrong."""
    (folder / "models").mkdir()

    def target(data: bytes, rng: random.Random) -> None:
        first, _, rest = data.partition(b"\n%%%\n")
        second, _, env = rest.partition(b"\n%%%\n")
        for name, part in (("tunekeeper.yaml", first), ("models/desk.yaml", second), (".env", env)):
            (folder / name).write_bytes(part)
        found = told(lambda: load_project(folder, environ={}))
        for origin in origins(found) if found is not None else ():
            assert origin.origin
            repr(origin.value)

    return target


# ---- redaction ----

PERSONAL = [json.dumps(each, ensure_ascii=False).encode() for each in (
    {"a@b.example": ["mail ann@example.com or +1 415 555 2671", {"x": "DE89 3704 0044 0532 0130 00, 4111-1111-1111-1111"}]},
    ["sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD", "10.0.0.1 2001:db8::1", "ann＠example.com\u200b", "[EMAIL] [EMAIL:1] 1"],
    {"ann@example.com": 1, "bob@example.com": 2, "[EMAIL] 1": 3},
)] + [b"tel +49 (0)30 123456 fax 030/123456-7 \xff\xed\xa0\x80"]  # fmt: skip


def redaction(folder: Path) -> Target:
    """JSON stays JSON, as many values as there were are there, and where something was found the quick look said perhaps."""
    plain, filtered = Redactor(), Redactor(most=1 << 12)

    def target(data: bytes, rng: random.Random) -> None:
        try:
            value = json.loads(data)
            json.dumps(value).encode()
        except (ValueError, RecursionError):
            value = data.decode("utf-8", "surrogateescape")
        clean, counts = plain.redact_json(value)
        json.dumps(clean)
        plain.redact_json(clean)
        assert shape(clean) == shape(value), "nothing is lost"
        assert not counts or plain.may_hold(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")), (
            "no is certain"
        )
        filtered.redact_json(value)

    return target


def shape(value: Any, depth: int = 0) -> Any:
    """How a JSON value is built, without what it says."""
    if depth > 190:
        return None
    if isinstance(value, dict):
        return [shape(each, depth + 1) for each in value.values()]
    return [[shape(each, depth + 1) for each in value]] if isinstance(value, list) else type(value).__name__


# ---- templates and Modelfiles ----

USER = [{"role": "system", "content": "s"}, {"role": "user", "content": "h"}, {"role": "assistant", "content": "a"}]
TEMPLATES = [
    b"{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] | trim }}<|im_end|>\n{% endfor %}",
    b"{% set ns = namespace(x=0) %}{% for m in messages[1:] %}{% if loop.first %}{{ m | tojson }}{% continue %}{% endif %}"
    b"{% endfor %}{{ strftime_now('%Y') }}",
    b"{%- macro a(b) -%}{{ b.items() | list }}{%- endmacro -%}{{ a(0) }}{% generation %}x{% endgeneration %}{{ 2**3 }}",
]
GO = [
    b'{{ if .System }}<s>{{ .System }}{{ end }}{{ range $i, $m := .Messages }}{{ if eq .Role "user" }}[{{ .Content }}]{{ else }}x'
    b"{{ end }}{{- end }}",
    b'{{ $last := "" }}{{ with .Prompt }}{{ . }}{{ end }}{{ len .Messages }}{{ slice .Messages 1 2 }}{{ index .Messages 0 }}',
    b'FROM ./m.gguf\nTEMPLATE """{{ .Prompt }}{{/* c */}}"""\nPARAMETER stop "a b"\nSYSTEM x\nMESSAGE user hi\n# c\n',
]


def template(folder: Path) -> Target:
    """A chat template out of a checkpoint: text, or a refusal."""

    def target(data: bytes, rng: random.Random) -> None:
        text = data.decode("utf-8", "surrogateescape")
        with suppress(jinja2.TemplateError, RecursionError):  # only so that what is new to Jinja's parser is seen from here
            jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
        made = told(lambda: render(text, USER, add_generation_prompt=True))
        assert made is None or isinstance(made, str)

    return target


def go(folder: Path) -> Target:
    """A template and a Modelfile of Ollama's."""

    def target(data: bytes, rng: random.Random) -> None:
        text = data.decode("utf-8", "replace")
        told(lambda: chat(text, USER))
        told(lambda: read_modelfile(text))

    return target


# ---- records, and the small files beside weights ----

RECORD = {
    "request_id": "r1", "timestamp": "2026-01-05T09:00:00Z", "model_id": "m", "variant": "control", "status": "ok",
    "prompt_tokens": 3, "latency_ms": 1.5, "request": {"messages": []}, "segments": {"a": "b"}, "metadata": {"x": [1]},
}  # fmt: skip
RECORDS = [json.dumps(RECORD).encode() + b"\n" + json.dumps({**RECORD, "timestamp": 1767603600}).encode()]
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "eos_token_id": [1, 2],
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
}  # fmt: skip
BYTES = [chr(b) for b in (*range(33, 127), *range(161, 173), *range(174, 256))] + [chr(256 + n) for n in range(68)]
TOKENIZER = {
    "version": "1.0", "added_tokens": [{"id": 257, "content": "<e>", "special": True, "normalized": False, "single_word": False,
    "lstrip": False, "rstrip": False}], "normalizer": None, "decoder": {"type": "ByteLevel"}, "post_processor": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate([*BYTES, "ab"])}, "merges": [["a", "b"]],
    "byte_fallback": False},
}  # fmt: skip
CHECKPOINTS = [
    b"\n%%%\n".join(json.dumps(part).encode() for part in (CONFIG, TOKENIZER, {"eos_token": "<e>", "chat_template": "x"}))
]
ADAPTERS = [json.dumps(each).encode() for each in (
    {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "rank_pattern": {"a": 4}, "use_dora": False,
     "base_model_name_or_path": "base", "bias": "none", "task_type": "CAUSAL_LM"},
)]  # fmt: skip


def records(folder: Path) -> Target:
    """Somebody else's log."""
    file = folder / "log.jsonl"

    def target(data: bytes, rng: random.Random) -> None:
        file.write_bytes(data)
        told(lambda: list(read_file(file)))

    return target


def checkpoint(folder: Path) -> Target:
    """config.json, tokenizer.json and tokenizer_config.json of a checkpoint, parted by a line of signs."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")

    def target(data: bytes, rng: random.Random) -> None:
        for name, part in zip(names, [*data.split(b"\n%%%\n", 2), b"", b""], strict=False):
            (folder / name).write_bytes(part)
        config = decoded((folder / "config.json").read_bytes())
        if config is not None:
            told(lambda: shape_of(config, folder))
        files = told(lambda: read_tokenizer(folder))
        if files is not None:
            told(lambda: tokens_of(files, 300, (257,)))
        told(lambda: inspect(folder))

    return target


def adapter(folder: Path) -> Target:
    """adapter_config.json of an adapter, beside the base of the example."""
    base, stem = open_checkpoint(BASE), "base_model.model.model.layers.0.self_attn.q_proj"
    rows = {
        f"{stem}.lora_A.weight": {"dtype": "F32", "shape": [8, 256], "data_offsets": [0, 8192]},
        f"{stem}.lora_B.weight": {"dtype": "F32", "shape": [256, 8], "data_offsets": [8192, 16384]},
    }
    header = json.dumps(rows).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16384))

    def target(data: bytes, rng: random.Random) -> None:
        (folder / "adapter_config.json").write_bytes(data)
        told(lambda: inspect(folder))
        told(lambda: open_adapter(folder, base))

    return target


TARGETS: dict[str, tuple[Made, list[bytes], int]] = {
    "suite": (suite, SUITES, 120),
    "cases": (cases, CASES, 800),
    "form": (form, FORMATS, 250),
    "recipe": (recipe, RECIPES, 150),
    "project": (project, PROJECTS, 30),
    "redaction": (redaction, PERSONAL, 500),
    "template": (template, TEMPLATES, 60),
    "go": (go, GO, 500),
    "records": (records, RECORDS, 700),
    "checkpoint": (checkpoint, CHECKPOINTS, 120),
    "adapter": (adapter, ADAPTERS, 600),
}
"""Name → what makes it in a folder, what it begins with (what once broke it, too), how many inputs in the fast lane."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_file_that_somebody_wrote_raises_what_is_not_documented(name: str, tmp_path: Path) -> None:
    made, corpus, often = TARGETS[name]
    target = made(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: Found = fuzz(target, corpus, SEED, figure(often, 150 * often))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    say("T57", SEED, parser=name, tried=found.tried, kept=found.kept, broken=len(found.broken), rss_mb=grown)
    assert found.broken == []
    assert found.kept >= 2, "some inputs go where none has been"
    assert grown < 512
