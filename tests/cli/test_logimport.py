"""`tunekeeper log import`, as people bring the logs of other systems."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunekeeper.core.clock import SystemClock
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.store.log import Log

Tell = Callable[..., Any]
LITELLM = {
    "request_id": "chatcmpl-1",
    "call_type": "acompletion",
    "api_key": "88dc",
    "spend": 0.00012,
    "total_tokens": 30,
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "startTime": "2025-03-01 10:00:00.125",
    "endTime": "2025-03-01 10:00:01.625",
    "model": "gpt-4o-mini",
    "metadata": '{"user_api_key_alias": "desk"}',
    "messages": '[{"role": "user", "content": "Where is it?"}]',
    "response": '{"choices": [{"index": 0, "message": {"role": "assistant", "content": "On its way."}}]}',
    "status": "success",
    "end_user": "",
}
LANGFUSE = {
    "id": "obs-1",
    "trace_id": "t-1",
    "start_time": "2024-05-29 13:46:19.963000",
    "end_time": "2024-05-29 13:46:20.463000",
    "provided_model_name": "gpt-4o",
    "usage_details": {"input": 12, "output": 7, "total": 19},
    "total_cost": 0.002,
    "latency": 0.5,
    "input": '[{"role":"user","content":"Hello"}]',
    "output": '{"role":"assistant","content":"Hi"}',
    "tags": ["prod"],
    "user_id": "u-9",
}
MLFLOW = {
    "trace_id": "tr-1",
    "request_time": 1740823200125,
    "execution_duration": 812,
    "state": "OK",
    "request": '{"messages": [{"role": "user", "content": "Hello"}]}',
    "response": '"Hi"',
    "tags": {"mlflow.traceName": "predict"},
}
STORED = {
    "object": "chat.completion",
    "id": "chatcmpl-9",
    "model": "gpt-4o-2024-08-06",
    "created": 1740823200,
    "usage": {"prompt_tokens": 18, "completion_tokens": 4},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "metadata": {"user_id": "u-1"},
}
AZURE = {
    "TimeGenerated": "2025-03-01T10:00:00.125Z",
    "CorrelationId": "c-1",
    "ModelName": "gpt-4o",
    "DeploymentName": "desk-eu",
    "PromptTokens": 18,
    "CompletionTokens": 4,
    "RequestMessages": [{"role": "user", "content": "Hello"}],
    "ResponseMessages": [{"role": "assistant", "content": "Hi"}],
    "SequenceNumber": 0,
}


@pytest.fixture
def taken(tmp_path: Path, tell: Tell) -> Callable[..., tuple[Any, list[Inference]]]:
    """What `log import FILE …` says, and what the log holds then."""

    def call(file: Path, *words: str) -> tuple[Any, list[Inference]]:
        done = tell("log", "import", file, *words, "--data", tmp_path / "data")
        return done, Log(tmp_path / "data", SystemClock()).find()

    return call


def lines(folder: Path, *rows: Any) -> Path:
    path = folder / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row", [LITELLM, LANGFUSE, MLFLOW, STORED, AZURE], ids=["litellm", "langfuse", "mlflow", "stored", "azure"]
)
def test_what_is_said_of_a_strangers_row_is_what_takes_it(tmp_path: Path, taken: Callable[..., Any], row: dict[str, Any]) -> None:
    file = lines(tmp_path, row)
    refused, none = taken(file)
    assert (refused.code, none, refused.err.count("\n")) == (2, [], 1)
    assert "theirs.jsonl:1: not an inference: it has no " in refused.err
    said = refused.err.partition("say which column is which: ")[2].partition(" (columns")[0].rstrip(")\n")
    words = [word.replace("NAME", "desk") for word in said.split()]
    done, [found] = taken(file, *words)
    assert (done.code, found.status, found.timestamp.tzinfo) == (0, "ok", UTC)
    assert found.timestamp.year in (2024, 2025)


def test_a_row_of_a_spend_log_is_whole(tmp_path: Path, taken: Callable[..., Any]) -> None:
    words = ["timestamp=startTime", "version=model", "cost_usd=spend", "latency_ms=endTime-startTime", "request=messages"]
    given = [word for each in [*words, "segments.kind=call_type"] for word in ("--map", each)]
    _, [found] = taken(lines(tmp_path, LITELLM), *given, "--model", "desk")
    assert found.timestamp == datetime(2025, 3, 1, 10, 0, 0, 125_000, tzinfo=UTC)
    assert (found.model_id, found.version, found.cost_usd, found.latency_ms) == ("desk", "gpt-4o-mini", 0.00012, 1500)
    assert (found.prompt_tokens, found.completion_tokens, found.status) == (20, 10, "ok")
    assert (found.question, found.answer, found.segments) == ("Where is it?", "On its way.", {"kind": "acompletion"})
    assert found.metadata == {"user_api_key_alias": "desk"}


def test_nested_columns_factors_and_the_row_itself(tmp_path: Path, taken: Callable[..., Any]) -> None:
    words = ("request_id=id", "timestamp=start_time", "model_id=provided_model_name", "prompt_tokens=usage_details.input")
    more = ("latency_ms=latency*1000", "request=input", "response=output", "metadata.user_id=user_id")
    _, [found] = taken(lines(tmp_path, LANGFUSE), *(word for each in (*words, *more) for word in ("--map", each)))
    assert (found.prompt_tokens, found.latency_ms, found.metadata) == (12, 500, {"user_id": "u-9"})
    assert (found.question, found.answer) == ("Hello", "Hi")
    words = ("request_id=id", "timestamp=created", "response=.")
    _, both = taken(lines(tmp_path, STORED), *(word for each in words for word in ("--map", each)), "--model", "desk")
    assert [each.answer for each in both if each.model_id == "desk"] == ["Hi"]


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".json", ".jsonl"])
def test_predictions_of_a_classifier_come_as_any_table(tmp_path: Path, taken: Callable[..., Any], kind: str) -> None:
    rows = [
        {"id": n, "ts": f"2025-03-01 10:{n:02}:00+01:00", "text": f"ticket {n}", "label": n % 2, "proba": 0.75, "lang": "de"}
        for n in range(3)
    ]
    file = tmp_path / f"predictions{kind}"
    if kind == ".csv":
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == ".parquet":
        pq.write_table(pa.Table.from_pylist([{**row, "ts": datetime.fromisoformat(row["ts"])} for row in rows]), file)
    elif kind == ".json":
        file.write_text(json.dumps(rows, indent=2))
    else:
        lines(tmp_path, *rows).rename(file)
    words = ("request_id=id", "timestamp=ts", "request=text", "response=label", "confidence=proba", "segments.lang=lang")
    done, found = taken(file, *(word for each in words for word in ("--map", each)), "--model", "churn")
    assert (done.code, len(found)) == (0, 3)
    assert [each.request_id for each in found] == ["0", "1", "2"]
    assert found[1].timestamp == datetime(2025, 3, 1, 9, 1, tzinfo=UTC)
    assert (found[1].question, found[1].answer, found[1].confidence, found[1].segments) == ("ticket 1", "1", 0.75, {"lang": "de"})
    assert "passed over" not in done.out


def test_a_table_whose_columns_are_called_as_ours_needs_no_mapping(tmp_path: Path, taken: Callable[..., Any]) -> None:
    file = tmp_path / "ours.csv"
    file.write_text(
        "request_id,timestamp,model_id,prompt_tokens,latency_ms,stream,segments,quality_score,note\n"
        'a,2025-03-01 10:00:00,m,20.0,12.5,true,"{""lang"": ""de""}",,x\n'
        "b,1740823200,m,,,,,0.5,\n"
    )
    done, [a, b] = taken(file)
    assert (a.prompt_tokens, a.latency_ms, a.stream, a.segments, a.quality_score) == (20, 12.5, True, {"lang": "de"}, None)
    assert (b.timestamp, b.prompt_tokens, b.stream, b.segments, b.quality_score) == (a.timestamp, None, False, {}, 0.5)
    assert done.out.splitlines()[1] == "passed over, as no field of an inference has the name: note"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--map", "timestamp"), "names no column (fix: write field=COLUMN"),
        (("--map", "timestmap=ts"), "no field 'timestmap' (fix: did you mean timestamp?)"),
        (("--map", "user=messages"), "no field 'user' (fix: did you mean request?)"),
        (("--map", "answer=output"), "no field 'answer' (fix: did you mean response?)"),
        (("--map", "cost_usd=a", "--map", "cost_usd=b"), "--map names cost_usd twice"),
        (("--map", "timestamp=when"), "theirs.jsonl:1: not an inference: there is no column 'when'"),
        (("--map", "timestamp=model"), "theirs.jsonl:1: not an inference: 'gpt-4o-mini' is no moment"),
        (("--map", "timestamp=startTime", "--map", "latency_ms=model*1000"), "model is no number: 'gpt-4o-mini'"),
        (("--map", "timestamp=startTime", "--map", "metadata=model", "--map", "metadata.a=spend"), "metadata is no object"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, taken: Callable[..., Any], words: tuple[str, ...], said: str
) -> None:
    done, found = taken(lines(tmp_path, LITELLM), *words, "--model", "desk")
    assert (done.code, found, done.err.count("\n")) == (2, [], 1)
    assert said in done.err


def test_a_table_of_a_help_desk_with_its_own_dates_and_names(tmp_path: Path, taken: Callable[..., Any]) -> None:
    file = tmp_path / "theirs.csv"
    file.write_text("Ticket-Nr.;Eingegangen am;Frage;Antwort;Stil\n7;31.01.2026 9:05;Wo ist es?;Hier.;nett\n", "utf-8")
    words = ("--map", "request_id=Ticket-Nr.", "--map", "request=Frage", "--map", "response=Antwort", "--model", "desk")
    assert "--map request_id=Ticket-Nr. --map request=Frage" in taken(file, *words)[0].err
    done, [found] = taken(file, *words, "--map", "timestamp=Eingegangen am")
    assert (found.request_id, found.timestamp) == ("7", datetime(2026, 1, 31, 9, 5, tzinfo=UTC))
    assert done.out.splitlines()[1] == "passed over, as no field of an inference has the name: Stil"
    wrong = taken(file, *words, "--map", "timestamp=Stil", "--map", "metadata.x=Eingegangen am")[0].err
    assert "'nett' is no moment (such as 2026-01-31T14:05 or 31.01.2026 14:05)" in wrong
    assert "--map 'metadata.x=Eingegangen am'" in wrong


def test_the_text_that_a_server_prints_is_refused_with_what_is_wanted(tmp_path: Path, taken: Callable[..., Any]) -> None:
    file = tmp_path / "vllm.log"
    file.write_text(
        "INFO 02-13 11:33:33 [logger.py:49] Received request chatcmpl-a269: params: SamplingParams(n=1), lora: None.\n"
    )
    done, _ = taken(file)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "vllm.log:1: not an inference: the line does not begin a JSON object (fix: give each line a JSON object" in done.err


def test_records_of_the_future_are_told_and_are_in_no_window_that_ends_now(tmp_path: Path, tell: Tell) -> None:
    now = datetime.now(UTC)
    stamps = {"past": now - timedelta(minutes=5), "skewed": now + timedelta(seconds=5), "ahead": now + timedelta(hours=5)}
    rows = [{"request_id": name, "timestamp": stamp.isoformat(), "model_id": "m"} for name, stamp in stamps.items()]
    where = ("--data", tmp_path / "data")
    done = tell("log", "import", lines(tmp_path, *rows), *where)
    assert f"1 lie ahead of now, up to {stamps['ahead']:%Y-%m-%d %H:%M} UTC: windows end now" in done.out
    assert tell("log", "import", lines(tmp_path, *rows), "--json", *where).json["ahead"] == 1

    def listed(*words: str) -> set[str]:
        return {json.loads(line)["request_id"] for line in tell("log", "ls", *words, *where).out.splitlines()}

    assert {"past"} <= listed("--since", "24h") <= {"past", "skewed"}
    assert "ahead" in listed("--since", (now + timedelta(hours=1)).isoformat())
    assert listed() == listed("--since", "24h", "--until", (now + timedelta(days=1)).isoformat()) == set(stamps)
