"""Redaction as a model's file asks for it, from the file to the stored row."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.outside.conftest import call, chat, write_lines, write_yaml
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.data.config import Config
from tunekeeper.data.redacting import clean_inference, redactor_of
from tunekeeper.text.seals import make_keys


def project(folder: Path, **section: object) -> Path:
    assert call("init", folder, "--model", "help").code == 0
    write_yaml(folder / "models" / "help.yaml", {"model": "help", "base": "base", "data": section})
    return folder


def test_names_of_a_list_in_the_project_are_taken_out_of_what_is_imported(tmp_path: Path) -> None:
    folder = project(tmp_path / "desk", redact=["email", "name"], names={"detector": "list", "file": "lists/names.txt"})
    (folder / "lists").mkdir()
    (folder / "lists" / "names.txt").write_text("Ana Müller\n", "utf-8")
    rows = write_lines(folder / "rows.jsonl", [chat("I am Ana Müller, ana@example.com, where is my lamp", "bug")])
    done = call("data", "import", rows, "--model", "help", "--dir", folder, "--json")
    assert done.code == 0, done.err
    draft = (folder / ".tunekeeper" / "data" / "help" / "draft.jsonl").read_text("utf-8")
    assert "I am [NAME], [EMAIL], where is my lamp" in draft
    assert "Müller" not in draft


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"redact": ["name"]}, "names"),
        ({"redact": ["name"], "names": {"detector": "list", "file": "none.txt"}}, "none.txt"),
        ({"redact": ["phones"]}, "no kind of personal data is called 'phones'"),
    ],
)
def test_what_cannot_be_redacted_imports_nothing(tmp_path: Path, section: dict[str, object], said: str) -> None:
    folder = project(tmp_path / "desk", **section)
    rows = write_lines(folder / "rows.jsonl", [chat("I am Ana", "bug")])
    done = call("data", "import", rows, "--model", "help", "--dir", folder)
    assert done.code != 0
    assert said in done.error
    assert not (folder / ".tunekeeper" / "data" / "help" / "draft.jsonl").exists()


def test_the_section_makes_the_redactor() -> None:
    assert redactor_of(Config()).redact("ana@example.com") == ("[EMAIL]", {"email": 1})
    assert redactor_of(Config(redact=())).redact("ana@example.com") == ("ana@example.com", {})
    with pytest.raises(ConfigError, match="detector"):
        redactor_of(Config(redact=("name",)))


def test_a_sealed_row_gets_its_numbers_back_as_numbers(tmp_path: Path) -> None:
    secret, public = make_keys()
    folder = project(tmp_path / "desk", redact_seal=public)
    call_it = {"id": "c1", "type": "function", "function": {"name": "ring", "arguments": '{"phone": 4155550132, "n": "1"}'}}
    messages = [{"role": "user", "content": "ring me"}, {"role": "assistant", "content": "", "tool_calls": [call_it]}]
    row = {
        "messages": messages,
        "metadata": {"phone": 4155550132, "cell": "4155550133", "raw": r'{"a": "{\"phone\": 4155550132}"}'},
    }
    rows = write_lines(folder / "rows.jsonl", [row])
    assert call("data", "import", rows, "--model", "help", "--dir", folder, "--json").code == 0
    draft = folder / ".tunekeeper" / "data" / "help" / "draft.jsonl"
    assert "41555501" not in draft.read_text("utf-8")
    (folder / "key").write_text(secret, "utf-8")
    name = json.loads(draft.read_text("utf-8").splitlines()[0])["id"]
    done = call("data", "reveal", name, "--model", "help", "--key", folder / "key", "--dir", folder, "--json")
    assert done.code == 0, done.err
    again = done.json
    assert again["messages"][1]["tool_calls"][0]["function"]["arguments"] == call_it["function"]["arguments"]
    assert {name: again["metadata"][name] for name in row["metadata"]} == row["metadata"]


def test_users_who_are_called_by_their_address_stay_apart_and_can_be_erased(tmp_path: Path) -> None:
    folder = project(tmp_path / "desk")
    rows = [
        chat(f"Where is the {thing} that I bought", "shipping", user_id=f"{who}@example.com", id=f"{who}.{thing[:3]}@example.com")
        for who, thing in (("ana", "blue lamp"), ("ana", "wooden chair"), ("bo", "red kettle"))
    ]
    assert call("data", "import", write_lines(folder / "r.jsonl", rows), "--model", "help", "--dir", folder, "--json").code == 0
    draft = folder / ".tunekeeper" / "data" / "help" / "draft.jsonl"
    named = [json.loads(line)["metadata"] for line in draft.read_text("utf-8").splitlines()]
    users, ids = [each["user_id"] for each in named], [each["id"] for each in named]
    assert users[0] == users[1] != users[2]
    assert len(set(ids)) == 3
    assert all(name.startswith("[EMAIL]~") for name in (*users, *ids))
    erased = call("log", "erase", "--user", "ana@example.com", "--dir", folder, "--json").json
    assert erased["copies"]["drafts"] == 2
    assert "kettle" in draft.read_text("utf-8")
    assert "lamp" not in draft.read_text("utf-8")


def test_a_record_from_elsewhere_keeps_its_numbers_and_loses_what_is_personal() -> None:
    record = Inference(
        request_id="req_4111111111111111", timestamp=datetime(2026, 1, 2, tzinfo=UTC), model_id="help",
        segments={"team": "a"}, metadata={"mail": "ana@example.com"}, request={"messages": [{"content": "call +49 30 1234567"}]},
        response={"choices": []}, client_request_id="bo@example.com", prompt_tokens=7,
    )  # fmt: skip
    clean = clean_inference(record)
    assert (clean.request_id, clean.prompt_tokens, clean.segments) == ("req_4111111111111111", 7, {"team": "a"})
    assert (clean.metadata, clean.client_request_id) == ({"mail": "[EMAIL]"}, "[EMAIL]")
    assert clean.request == {"messages": [{"content": "call [PHONE]"}]}
    assert clean_inference(clean) is clean
