"""Bad input and a bad world: one clear line, the exit code of the design, nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sys
import zipfile
from pathlib import Path

import pytest

from tests.outside.conftest import call, chat, full, run, write_lines, write_yaml
from tests.outside.test_train_and_export import ROWS

SLOT = {"endpoint": "http://127.0.0.1:9/v1"}
WITHOUT = """\
import os, sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == os.environ["ABSENT"] else PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""

MEASURED = """\
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one dataset."""
    folder = tmp_path_factory.mktemp("bad") / "p"
    call("init", folder, "--model", "desk")
    rows = write_lines(folder.parent / "rows.jsonl", ROWS)
    assert call("data", "import", rows, "--model", "desk", "--dir", folder).code == 0
    assert call("data", "freeze", "--model", "desk", "--dir", folder).code == 0
    return folder


def files(folder: Path) -> set[str]:
    """Every file of a folder, but those that SQLite keeps beside a database."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.endswith(("-wal", "-shm", ".lock"))}


# ---- configuration ----


@pytest.mark.parametrize(
    ("path", "text", "line", "near"),
    [
        ("models/desk.yaml", "model: desk\nbase: base\ntraining:\n  learning_rat: 0.1\n", 4, "'learning_rate'"),
        ("models/desk.yaml", "model: desk\nbse: base\n", 2, "'base'"),
        ("tunekeeper.yaml", "project: p\ngateway:\n  prot: 1\n", 3, "'port'"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_near_one(
    tmp_path: Path, path: str, text: str, line: int, near: str
) -> None:
    call("init", tmp_path / "p", "--model", "desk")
    (tmp_path / "p" / path).write_text(text)
    for words in (("status",), ("config", "check")):
        told = call(*words, "--dir", tmp_path / "p")
        assert (told.code, told.out) == (2, "")
        assert f"{path}:{line}: unknown key" in told.error
        assert near in told.error


@pytest.mark.parametrize(
    ("models", "near"),
    [
        ({"m": {"slots": {"a": {"endpont": "x"}}}}, "'endpoint'"),
        ({"m": {"slots": {"a": SLOT}, "rout": {"a": 10000}}}, "'route'"),
        ({"m": {"slots": {"a": SLOT}, "route": {"a": 9000}}}, "10000"),
        ({"m": {"slots": {"a": SLOT}, "route": {"b": 10000}}}, "known: a"),
    ],
)
def test_a_wrong_serve_file_starts_nothing(tmp_path: Path, models: object, near: str) -> None:
    file = write_yaml(tmp_path / "gateway.yaml", {"models": models})
    told = call("serve", "--config", file)
    assert (told.code, told.out, files(tmp_path)) == (2, "", {"gateway.yaml"})
    assert f"{file}:" in told.error
    assert near in told.error


def test_an_unknown_recipe_key_is_named_with_file_and_line(checkpoints: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("rank: 4\nlerning_rate: 1\n")
    rows = write_lines(tmp_path / "rows.jsonl", ROWS)
    words = (
        "--checkpoint",
        checkpoints / "llama",
        "--data",
        rows,
        "--recipe",
        tmp_path / "recipe.yaml",
        "--out",
        tmp_path / "lora",
    )
    told = call("train", "run", *words)
    assert told.code == 2
    assert "recipe.yaml:2: unknown key 'lerning_rate'" in told.error
    assert "'learning_rate'" in told.error
    assert not (tmp_path / "lora").exists()


# ---- data ----


def test_a_missing_column_is_named_with_those_that_are_there(project: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("Body,Reply\na,b\n")
    before = call("data", "ls", "--model", "desk", "--dir", project, "--json").json
    for words in ((), ("--map", "user=Text", "--map", "assistant=Reply")):
        told = call("data", "import", table, "--model", "desk", "--dir", project, *words)
        assert told.code == 2
        assert "t.csv: no column" in told.error
        assert "Body, Reply" in told.error
    assert call("data", "ls", "--model", "desk", "--dir", project, "--json").json == before


def test_a_broken_line_is_named_by_file_and_number_wherever_lines_are_read(
    project: Path, checkpoints: Path, tmp_path: Path
) -> None:
    mixed = write_lines(tmp_path / "mixed.jsonl", [chat("A question that is new here", "bug"), '{"messages": [', ""])
    told = call("data", "import", mixed, "--model", "desk", "--dir", project)
    assert told.code == 0
    assert "mixed.jsonl:2: not JSON" in told.out
    broken = write_lines(tmp_path / "broken.jsonl", ["{oops"])
    told = call("data", "import", broken, "--model", "desk", "--dir", project)
    assert told.code == 2
    assert "broken.jsonl:1: not JSON" in told.error
    told = call("train", "run", "--checkpoint", checkpoints / "llama", "--data", mixed, "--out", tmp_path / "lora")
    assert (told.code, (tmp_path / "lora").exists()) == (2, False)
    assert "mixed.jsonl:2: not JSON" in told.error
    record = {"request_id": "r1", "timestamp": "2025-01-01T00:00:00Z", "model_id": "desk"}
    log = write_lines(tmp_path / "log.jsonl", [record, "{oops"])
    told = call("log", "import", log, "--dir", project)
    assert told.code == 2
    assert "log.jsonl:2:" in told.error
    assert call("log", "ls", "--dir", project).out == ""


def test_hostile_rows_are_left_out_in_little_memory_and_named(project: Path, tmp_path: Path) -> None:
    good = [json.dumps(chat(f"A calm question number {n} between them", "bug")).encode() for n in range(3)]
    many = json.dumps({"messages": [{"role": "user", "content": "x"}] * 10_000}).encode()
    with (tmp_path / "rows.jsonl").open("wb") as file:
        file.write(good[0] + b"\n")
        file.truncate(file.tell() + (200 << 20))  # a line of 200 MB, of NULs
        file.seek(0, 2)
        file.write(b"\n" + b"[" * 1_000_000 + b"\n" + many + b"\n" + good[1] + b"\n" + b'{"prompt": "\xff"}\n' + good[2])
    words = ("data", "import", tmp_path / "rows.jsonl", "--model", "desk", "--dir", project, "--dry-run")
    told = run(*words, "--json", prefix=(sys.executable, "-c", MEASURED, str(tmp_path / "memory")))
    usual = run(
        *words[:2], project.parent / "rows.jsonl", *words[3:], prefix=(sys.executable, "-c", MEASURED, str(tmp_path / "usual"))
    )
    assert (told.code, usual.code) == (0, 0)
    found = told.json
    assert (found["rows"], found["added"], found["dropped"]) == (7, 3, {"broken": 4})
    assert found["left_out"] == [
        "rows.jsonl:2: broken: the line is longer than 4 MB",
        "rows.jsonl:3: broken: lists and objects are nested more than 64 deep",
        "rows.jsonl:4: broken: 10000 messages, at most 2000 are allowed",
    ]
    assert int((tmp_path / "memory").read_text()) - int((tmp_path / "usual").read_text()) < 100_000, "kilobytes"


def test_packed_and_spreadsheet_bombs_are_refused_in_one_line_and_nothing_is_written(project: Path, tmp_path: Path) -> None:
    before = files(project)
    zeros = gzip.compress(bytes(48 << 20), mtime=0)
    sheet = "<worksheet><sheetData>" + " " * (48 << 20) + "</sheetData></worksheet>"
    for name, entries in (
        ("bomb.zip", {"rows.jsonl": bytes(48 << 20)}),
        ("out.zip", {"../../rows.jsonl": b"{}"}),
        ("deep.zip", {"inner.zip": b"PK"}),
        ("bomb.xlsx", {"xl/worksheets/sheet1.xml": sheet}),
    ):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
    (tmp_path / "bomb.jsonl.gz").write_bytes(zeros)
    (tmp_path / "wrong.csv").write_bytes(zeros)
    (tmp_path / "half.jsonl.gz").write_bytes(zeros[:5000])
    for name, said in {
        "bomb.zip": "unpacks to more than 200 times its size",
        "out.zip": "leads out of the archive",
        "deep.zip": "is an archive inside an archive",
        "bomb.xlsx": "unpacks to more than 200 times its size",
        "bomb.jsonl.gz": "unpacks to more than 200 times its size",
        "wrong.csv": "this is gzip data, not text",
        "half.jsonl.gz": "not readable as gzip",
    }.items():
        told = call("data", "import", tmp_path / name, "--model", "desk", "--dir", project)
        assert (told.code, told.out) == (2, ""), name
        assert f"{name}: " in told.error
        assert said in told.error, name
    assert files(project) == before


# ---- model files ----


def test_an_adapter_of_another_base_is_refused_everywhere(checkpoints: Path, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file  # what PEFT writes, made by hand

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "x"})
    )
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    save_file(
        {key.format("A"): np.ones((4, 256), np.float32), key.format("B"): np.ones((256, 4), np.float32)},
        adapter / "adapter_model.safetensors",
    )
    out = tmp_path / "x.gguf"
    for words in (
        ("export", "inspect", adapter, "--base", checkpoints / "llama"),
        ("export", "gguf", "--checkpoint", checkpoints / "llama", "--adapter", adapter, "--quant", "f16", "--out", out),
        (
            "export",
            "gguf",
            "--checkpoint",
            checkpoints / "llama",
            "--adapter",
            adapter,
            "--adapter-only",
            "--quant",
            "f16",
            "--out",
            out,
        ),
    ):
        told = call(*words)
        assert told.code == 2, words
        assert str(adapter) in told.error
    assert not out.exists()
    assert call("export", "inspect", adapter, "--base", checkpoints / "wide", "--json").json["fits"]


def test_a_cut_gguf_is_refused_before_anything_is_made_of_it(checkpoints: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    call("export", "gguf", "--checkpoint", checkpoints / "llama", "--quant", "f16", "--out", whole)
    for length in (0, 10, 3000, whole.stat().st_size - 100):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(whole.read_bytes()[:length])
        for words in (
            ("export", "inspect", cut),
            ("export", "gguf", "--checkpoint", cut, "--quant", "Q8_0", "--out", tmp_path / "x.gguf"),
        ):
            told = call(*words)
            assert told.code == 2, (length, words)
            assert "cut.gguf" in told.error
            assert "truncated" in told.error
    changed = bytearray(whole.read_bytes())
    changed[-1] ^= 1
    whole.write_bytes(changed)
    told = call("export", "verify", whole)
    assert (told.code, "changed or damaged" in told.error) == (2, True)
    assert not (tmp_path / "x.gguf").exists()


# ---- the world outside ----


def test_a_port_in_use_is_exit_4_and_leaves_nothing_running(project: Path, tmp_path: Path) -> None:
    file = write_yaml(tmp_path / "gateway.yaml", {"models": {"m": {"slots": {"a": SLOT}}}})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (("serve", "--config", file), ("up", "--dir", project)):
            told = run(*words, "--port", port)
            assert (told.code, told.out) == (4, "")
            assert f"port {port}" in told.error
    assert call("status", "--dir", project, "--json").json["running"] == {}


def test_a_full_disk_is_exit_4_and_nothing_is_half_written(project: Path, checkpoints: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    base = ("--checkpoint", checkpoints / "llama")
    for room, words in (
        (40, ("export", "gguf", *base, "--quant", "f16", "--out", tmp_path / "x.gguf")),
        (8, ("init", tmp_path / "new", "--model", "desk")),
        (8, ("train", "run", *base, "--data", project.parent / "rows.jsonl", "--out", tmp_path / "lora")),
    ):
        told = full(room, *words)
        assert (told.code, told.json["error"]["kind"]) == (4, "DiskFull"), words
        assert "no room left" in told.error
        assert files(tmp_path) == before, words
    draft = call("data", "ls", "--model", "desk", "--dir", project, "--json").json
    other = write_lines(tmp_path / "other.jsonl", [chat(f"A wholly other ticket {n}", "bug") for n in range(40)])
    told = full(2, "data", "import", other, "--replace", "--model", "desk", "--dir", project)
    assert told.code == 4
    assert call("data", "ls", "--model", "desk", "--dir", project, "--json").json == draft
    assert call("data", "import", other, "--model", "desk", "--dir", project).code == 0, "with room again it goes on"
    assert call("store", "verify", "--dir", project).code == 0


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("torch", ("train", "run", "--data", "{rows}", "--out", "{out}")),
        ("xllamacpp", ("export", "gguf", "--quant", "Q4_K_M", "--out", "{out}")),
        ("gguf", ("export", "gguf", "--quant", "f16", "--out", "{out}")),
    ],
)
def test_a_missing_extra_is_exit_4_and_names_what_installs_it(
    project: Path, checkpoints: Path, tmp_path: Path, absent: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[2] / "src")])
    given = {"{rows}": str(project.parent / "rows.jsonl"), "{out}": str(tmp_path / "made")}
    told = run(*(given.get(word, word) for word in words), "--checkpoint", checkpoints / "llama", ABSENT=absent, PYTHONPATH=path)
    assert (told.code, told.out, (tmp_path / "made").exists()) == (4, "", False)
    assert absent in told.error
    assert "pip install 'tunekeeper[" in told.error
