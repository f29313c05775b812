"""`tunekeeper log`, from the command line."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey
from tokenizers import Tokenizer

from tests.patience import until
from tunekeeper.cli.app import main
from tunekeeper.store.log.keeping import at_work, noted
from tunekeeper.store.log.spool import Spool
from tunekeeper.text.seals import Seal
from tunekeeper.workspace import create_workspace

LINE = '{"request_id":"abc-%d","timestamp":"2025-03-01T1%d:00:00Z","model_id":"%s","metadata":{"user_id":"u%d"},"latency_ms":2}'
REST = ("skipped", "left_out", "past_days", "past_body_days", "ahead")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("ls", …)`: exit code, stdout and stderr of `tunekeeper log ls …` in a small project."""
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\nlog: {days: null, body_days: null}\n")

    def command(*words: str) -> tuple[int, str, str]:
        code = main(["log", *words, "--dir", str(tmp_path)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Five inferences of two models, one an hour."""
    path = tmp_path / "old.jsonl"
    path.write_text("".join(LINE % (n, n, "ab"[n % 2], n % 3) + "\n" for n in range(5)))
    return path


def test_what_was_sealed_is_shown_to_the_holder_of_the_key_alone(run: Run, tmp_path: Path) -> None:
    assert main(["data", "seal-key", "--out", str(tmp_path / "secret")]) == 0
    assert main(["data", "seal-key", "--out", str(tmp_path / "other")]) == 0
    public = bytes(PrivateKey(base64.b64decode((tmp_path / "secret").read_text())).public_key)
    box = Seal(base64.b64encode(public).decode()).close({"[EMAIL:1]": "ana@example.com"})
    log = create_workspace(tmp_path / ".tunekeeper").log
    spool = Spool(log.root, "gateway-0", log.clock)
    plain: dict[str, Any] = {"timestamp": log.clock.utc(), "model_id": "desk"}
    asked = {"messages": [{"role": "user", "content": "I am [EMAIL:1]"}], "sealed": box}
    spool.ended({**plain, "request_id": "r1", "request": json.dumps(asked).encode(), "response": b'{"text":"to [EMAIL:1]"}'})
    spool.ended({**plain, "request_id": "r2", "request": b'{"messages":[]}'})
    spool.close()
    run("verify")
    code, out, err = run("reveal", "r1", "--key", str(tmp_path / "secret"), "--json")
    assert (code, err) == (0, "")
    shown = json.loads(out)
    assert shown["request"] == {"messages": [{"role": "user", "content": "I am ana@example.com"}]}
    assert shown["response"] == {"text": "to ana@example.com"}
    for words, said in (
        (("r1", "--key", str(tmp_path / "other")), "the key does not open this box"),
        (("r1", "--key", str(tmp_path / "none")), "cannot read the key"),
        (("r2", "--key", str(tmp_path / "secret")), "nothing sealed"),
        (("r9", "--key", str(tmp_path / "secret")), "holds no request"),
    ):
        code, out, err = run("reveal", *words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
    assert "ana@example.com" not in run("ls")[1]


def test_what_is_imported_is_listed_as_json_lines(run: Run, old: Path) -> None:
    code, out, _ = run("import", str(old), "--json")
    assert (code, json.loads(out)) == (0, {"rows": 5, "added": 5, **dict.fromkeys(REST, 0), "passed_over": [], "dry_run": False})
    code, out, _ = run("ls")
    assert [json.loads(line)["request_id"] for line in out.splitlines()] == [f"abc-{n}" for n in range(5)]
    assert json.loads(out.splitlines()[0])["timestamp"] == "2025-03-01T10:00:00Z"
    _, out, _ = run("ls", "--model", "a", "--since", "2025-03-01T11:00", "--until", "2025-03-01T14:00", "--json")
    assert [json.loads(line)["request_id"] for line in out.splitlines()] == ["abc-2"]


def test_what_no_field_takes_is_named_with_the_field_that_may_be_meant(run: Run, tmp_path: Path) -> None:
    file, row = tmp_path / "churn.jsonl", {"request_id": "r1", "timestamp": "2026-01-05T09:30:00Z", "model_id": "churn"}
    theirs = {"event": "inference", "latency": 12.5, "promt_tokens": 3, "score": 0.93, "true_label": "stay"}
    file.write_text(json.dumps(row) + "\n\n" + json.dumps({**row, "request_id": "r2", **theirs}))
    code, out, _ = run("import", str(file))
    said = "latency (did you mean latency_ms?), promt_tokens (did you mean prompt_tokens?), score, true_label"
    assert (code, out.splitlines()[1:]) == (0, [f"passed over, as no field of an inference has the name: {said}"])
    assert json.loads(run("import", str(file), "--dry-run", "--json")[1])["passed_over"] == list(theirs)[1:]
    file.write_text(json.dumps({**row, "request_id": "r3", **{f"k{n}": n for n in range(15)}}))
    assert run("import", str(file))[1].endswith(", k11, 3 more\n")


def aged(path: Path, days: float, number: int, **more: Any) -> None:
    """One inference more in a file, accepted `days` ago."""
    at = datetime.now(UTC) - timedelta(days=days)
    row = {"request_id": f"aged-{number}", "timestamp": at.isoformat(), "model_id": "a", **more}
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def test_what_is_older_than_the_log_is_kept_is_told_with_what_to_do(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "years.jsonl"
    text = {"request": {"messages": []}, "response": {"choices": []}}
    for number, days in enumerate((500, 400, 100, 100, 3)):
        aged(file, days, number, **(text if number != 3 else {}))
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\n")
    told = json.loads(run("import", str(file), "--dry-run", "--json")[1])
    assert {"rows": 5, "added": 0, "left_out": 0, "past_days": 2, "past_body_days": 1}.items() <= told.items()
    (tmp_path / ".tunekeeper" / "run").mkdir(exist_ok=True)
    keep = [sys.executable, "-m", "tunekeeper.store.log.keeper", "--root", str(tmp_path / ".tunekeeper")]
    with subprocess.Popen([*keep, "--days", "395", "--body-days", "30"]) as keeper:
        until(lambda: at_work(tmp_path / ".tunekeeper") and noted(tmp_path / ".tunekeeper") is not None)
        code, out, _ = run("import", str(file))
        lines = out.splitlines()
        assert (code, lines[0]) == (0, "added 3 of 5 inferences, 0 were known")
        assert lines[1].startswith("2 were left out: the log keeps records 395 days; to keep them raise log.days in tunekeeper")
        assert lines[2].startswith("1 keep their numbers only: the log keeps texts 30 days; to keep them raise log.body_days")
        keeper.terminate()
    subprocess.run([*keep, "--once", "--days", "395", "--body-days", "30"], check=True)
    assert [json.loads(line)["request_id"] for line in run("ls")[1].splitlines()] == ["aged-2", "aged-3", "aged-4"]
    (tmp_path / "tunekeeper.yaml").write_text("project: desk\nlog: {days: 600, body_days: null}\n")
    assert run("import", str(file))[1] == "added 2 of 5 inferences, 3 were known\n"


def test_a_data_directory_alone_is_judged_by_what_its_last_keeper_kept(tmp_path: Path, tell: Callable[..., Any]) -> None:
    file, where = tmp_path / "old.jsonl", ("--data", tmp_path / "data", "--json")
    aged(file, 10, 0)
    assert tell("log", "import", file, "--dry-run", "--data", tmp_path / "none", "--json").code != 70
    assert (
        tell("log", "import", file, *where).json["past_days"] == 0
    )  # nothing is known: thirteen months, as `serve` without a word
    keep = [sys.executable, "-m", "tunekeeper.store.log.keeper", "--root", str(tmp_path / "data"), "--once", "--days", "7"]
    subprocess.run(keep, check=True)
    aged(file, 9, 1)
    told = tell("log", "import", file, *where).json
    assert (told["rows"], told["added"], told["past_days"], told["left_out"]) == (2, 2, 2, 0)
    assert "go once `up` or `serve` runs: the log keeps records 7 days" in tell("log", "import", file, *where[:2]).out


def test_counts_that_no_server_gave_are_filled_in_with_the_tokenizer_that_is_named(
    tmp_path: Path, tell: Callable[..., Any]
) -> None:
    base = Path(__file__).parents[2] / "examples" / "support_desk" / "base"
    log = create_workspace(tmp_path / "data").log
    spool = Spool(log.root, "gateway-0", log.clock)
    plain: dict[str, Any] = {"timestamp": log.clock.utc(), "model_id": "desk", "endpoint": "chat.completions", "purpose": "user"}
    plain["request"] = b'{"messages":[{"role":"user","content":"where is my parcel"}]}'
    plain["response"] = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"All is"},"finish_reason":null}]}'
    spool.ended({**plain, "request_id": "cut", "status": "cancelled", "version": "m"})
    spool.ended({**plain, "request_id": "told", "status": "ok", "prompt_tokens": 3, "completion_tokens": 4})
    spool.ended({**plain, "request_id": "failed", "status": "error"})
    spool.close()
    words = ("log", "count", "--model", "desk", "--tokenizer", base, "--data", tmp_path / "data")
    assert tell(*words, "--dry-run").out == "would count 1 of 1 answered requests without token counts\n"
    assert tell(*words, "--version", "n", "--json").json == {"without_counts": 0, "counted": 0, "dry_run": False}
    assert tell(*words).out == "counted 1 of 1 answered requests without token counts\n"
    assert tell(*words).out == "counted 0 of 0 answered requests without token counts\n"
    rows = map(json.loads, tell("log", "ls", "--data", tmp_path / "data").out.splitlines())
    found = {row["request_id"]: (row["prompt_tokens"], row["completion_tokens"]) for row in rows}
    library = Tokenizer.from_file(str(base / "tokenizer.json"))
    text = "<|im_start|>user\nwhere is my parcel<|im_end|>\n<|im_start|>assistant\n"
    cut = tuple(len(library.encode(each, add_special_tokens=False).ids) for each in (text, "All is"))
    assert found == {"cut": cut, "told": (3, 4), "failed": (None, None)}
    nothing = tell("log", "count", "--model", "desk", "--tokenizer", tmp_path, "--data", tmp_path / "data")
    assert (nothing.code, nothing.err.count("\n")) == (2, 1)
    assert "tokenizer.json" in nothing.err


def test_a_sound_log_is_0_and_a_doubled_record_is_1(run: Run, old: Path, tmp_path: Path) -> None:
    run("import", str(old))
    code, out, _ = run("verify", "--json")
    assert (code, json.loads(out)) == (0, {"records": 5, "duplicates": 0, "open": 0, "corrupt": 0})
    (path,) = (tmp_path / ".tunekeeper" / "log" / "metrics" / "2025-03-01T10").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-30])
    code, out, _ = run("verify")
    assert (code, out.splitlines()[0]) == (1, "NOT SOUND: 4 records, 0 duplicates, 0 open, 1 corrupt")
    assert out.splitlines()[1] == f"damaged: {path}: put it back from a backup, or move it away to go on without its rows"
    assert json.loads(run("verify", "--json")[1])["damaged"] == [str(path)]
    path.unlink()
    assert run("verify")[:2] == (0, "sound: 4 records, 0 duplicates, 0 open, 0 corrupt\n")


def test_a_broken_line_imports_nothing_and_is_named(run: Run, old: Path) -> None:
    old.write_text(old.read_text() + "{broken\n")
    code, out, err = run("import", str(old))
    assert (code, out) == (2, "")
    assert f"{old}:6: not an inference" in err
    assert len(err.splitlines()) == 1
    assert run("ls")[1] == ""


def test_a_dry_run_changes_nothing(run: Run, old: Path) -> None:
    assert run("import", str(old), "--dry-run")[:2] == (0, f"{old}: 5 inferences\n")
    assert run("ls")[1] == ""
    run("import", str(old))
    assert run("erase", "--user", "u1", "--dry-run")[:2] == (0, "would erase 2 requests\nyours to edit: old.jsonl, 2 rows\n")
    assert len(run("ls")[1].splitlines()) == 5


def test_a_user_is_erased(run: Run, old: Path) -> None:
    run("import", str(old))
    code, out, _ = run("erase", "--user", "u1", "--json")
    assert (code, json.loads(out)["requests"]) == (0, 2)
    assert "u1" not in run("ls")[1]
    assert len(run("ls")[1].splitlines()) == 3
    code, _, err = run("erase", "--user", "")
    assert code == 2
    assert "--user is empty" in err


def test_an_erasure_reaches_the_copies_and_says_how_many(old: Path, tmp_path: Path, tell: Callable[..., Any]) -> None:
    assert tell("init", tmp_path / "shop", "--model", "support-desk").code == 0
    where = ("--dir", tmp_path / "shop")
    rows = tmp_path / "rows.jsonl"
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"ticket {n} of {'mallory' if n == 4 else 'someone'} {random.Random(n).random()}"},
                {"role": "assistant", "content": json.dumps({"category": "billing", "priority": n})},
            ],
            "metadata": {"id": f"abc-{n}"},
        }
        for n in range(40)
    ]
    rows.write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    assert tell("log", "import", old, *where).code == 0
    assert tell("data", "import", rows, "--model", "support-desk", *where).code == 0
    frozen = tell("data", "freeze", "--model", "support-desk", "--json", *where).json
    told = tell("log", "erase", "--user", "u1", "--dry-run", "--json", *where).json
    untouched = ("reports", "reviews", "incident_cases", "suite_cases", "exam_cases", "exam_answers", "scores", "transcripts")
    assert told["copies"] == {"examples": 2, "drafts": 2, **dict.fromkeys(untouched, 0)}
    said = tell("log", "erase", "--user", "u1", *where)
    assert said.out == "erased 2 requests\nand of their copies: 2 examples, 2 drafts\n"
    [version] = tell("data", "log", "--model", "support-desk", "--json", *where).json["versions"]
    assert (version["digest"], version["examples"], version["erased"]) == (frozen["digest"], frozen["examples"], 2)
    checked = tell("store", "verify", "--json", *where).json
    assert (checked["damaged"], checked["erased"]) == ([], 2)
    data = [path for path in (tmp_path / "shop" / ".tunekeeper").rglob("*") if path.is_file() and ".db" not in path.name]
    assert [path for path in data if b"ticket 4 of mallory" in path.read_bytes()] == []
    again = tell("log", "erase", "--user", "u1", "--json", *where).json
    assert (again["requests"], set(again["copies"].values())) == (0, {0})


def test_an_erasure_names_files_and_backups_that_only_people_may_change(
    old: Path, tmp_path: Path, tell: Callable[..., Any]
) -> None:
    shop = tmp_path / "shop"
    assert tell("init", shop, "--model", "support-desk").code == 0
    where = ("--dir", shop)
    rows = tmp_path / "rows.jsonl"
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"ticket {n} {random.Random(n).random()}"},
                {"role": "assistant", "content": f"answer {n}"},
            ],
            "metadata": {"id": f"abc-{n}"},
        }
        for n in range(40)
    ]
    rows.write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    assert tell("log", "import", old, *where).code == 0
    assert tell("data", "import", rows, "--model", "support-desk", *where).code == 0
    assert tell("data", "freeze", "--model", "support-desk", *where).code == 0
    for format, name in (("openai", "rows.jsonl"), ("sharegpt", "talks.jsonl"), ("parquet", "rows.parquet")):
        out = ("--format", format, "--out", shop / "exports" / name)
        assert tell("data", "export", "latest", "--model", "support-desk", *out, *where).code == 0
    nobody = tell("log", "erase", "--user", "stranger", "--json", *where).json
    assert (nobody["files"], nobody["backups"]) == ([], [])
    (tmp_path / "kept").mkdir()
    first = tell("backup", "--out", tmp_path / "kept", "--json", *where).json["file"]
    files = [{"path": f"exports/{name}", "rows": 2, "why": ""} for name in ("rows.jsonl", "rows.parquet", "talks.jsonl")]
    tried = tell("log", "erase", "--user", "u1", "--dry-run", "--json", *where).json
    assert (tried["files"], [each["file"] for each in tried["backups"]]) == (files, [first])
    said = tell("log", "erase", "--user", "u1", *where).out.splitlines()
    assert said[2:5] == [f"yours to edit: {each['path']}, 2 rows" for each in files]
    assert said[5].startswith(f"yours to delete: backup {first} of 20")
    tell("backup", "--out", tmp_path / "kept" / "clean.tar.zst", *where)
    again = tell("log", "erase", "--user", "u1", "--json", *where).json
    assert (again["requests"], again["files"], [each["file"] for each in again["backups"]]) == (0, files, [first])
    Path(first).unlink()
    for path in (shop / "exports").iterdir():
        path.unlink()
    last = tell("log", "erase", "--user", "u1", "--json", *where).json
    assert (last["files"], [(each["file"], each["found"]) for each in last["backups"]]) == ([], [(first, False)])
