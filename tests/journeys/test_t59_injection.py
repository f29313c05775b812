"""T59: SQL, paths and patterns in every place that a caller may write into: they are values, and find nothing else."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import xxhash

from tests.journeys.rig import MODEL, SECONDS, Rig, Wire, figure, rig, say
from tests.outside.conftest import REPOSITORY, call

PAYLOADS = [
    "' OR '1'='1",
    "x'; DROP TABLE keys; --",
    '" OR ""="',
    "$1", "$model", ":model", "?", "%", "_", "*", "%(model)s", "{model}",
    "x' UNION SELECT hash, hash, hash FROM keys --",
    "1); ATTACH '/etc/passwd' AS p; --",
    "'); COPY (SELECT 1) TO 'out.csv'; --",
    "read_text('/etc/passwd')",
    "\\'; SELECT 1; --",
    "x\\",
    "'||(SELECT body FROM keys)||'",
    "desk' AND md5('a')='a",
    "a/**/OR/**/1=1",
    "0x27204f52",
    "%27%20OR%201%3D1",
    "../../control.db",
    "$.a[*]",
    "NULL",
    "desk'--",
    "'; PRAGMA writable_schema=1; --",
    "x', 'y'), ('z",
    "Robert'); UPDATE keys SET revoked=0; --",
]  # fmt: skip
STRANGE = ["\u02bc OR 1=1", "\uff07 OR 1=1", "a\u0000b", "a'\nOR 1=1", "\u202e' OR 1", "\U0001f600'"]
"""What no header can carry: for bodies only."""
SQL = re.compile(r"\s*(select|insert|update|delete|create|drop|alter|pragma|attach|copy|with|vacuum|begin)\b", re.IGNORECASE)
PIECES = {
    "name", "table", "tx.database", "self.name", "_SET", "where(values, *more)", "where(asked)", "_among('id', part)", "which",
    "order", "most",
}  # fmt: skip
"""What may be put into a statement: names of tables of ours, and conditions whose values go by name."""
pytestmark = pytest.mark.timeout(SECONDS)


async def say_everywhere(run: Rig, payload: str, *, headers: bool) -> list[int]:
    """Write `payload` into every place that a request has; the statuses."""
    wire, found = Wire(run.url), []
    plain = {"model": MODEL, "messages": [{"role": "user", "content": payload}], "user": payload}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {**plain, "metadata": {"user_id": payload, payload: payload, "tenant_id": payload}}),
        ("/v1/chat/completions", {**plain, "model": payload}),
        ("/v1/chat/completions", {**plain, "model": f"{MODEL}@{payload}"}),
        ("/v1/feedback", {"request_id": payload, "kind": "label", "value": payload}),
        ("/v1/feedback", {"id": payload[:256], "kind": payload, "value": payload}),
        (
            "/v1/feedback",
            {
                "id": payload[:256],
                "kind": "label",
                "value": payload,
                "by": payload,
                "model": payload,
                "metadata": {payload: payload},
            },
        ),
    ]
    heads = ""
    if headers:
        names = (
            "x-tunekeeper-unit",
            "x-session-id",
            "x-tunekeeper-tenant",
            "x-request-id",
            "x-tunekeeper-parent",
            "x-tunekeeper-segment-team",
        )
        heads = "".join(f"{name}: {payload}\r\n" for name in names) + f"authorization: Bearer {payload}\r\n"
    requests = [
        f"POST {path} HTTP/1.1\r\nhost: x\r\n{heads}content-length: {len(raw)}\r\n\r\n".encode() + raw
        for path, body in bodies
        for raw in (json.dumps(body).encode(),)
    ]
    requests.append(f"GET /v1/models/{quote(payload, safe='')} HTTP/1.1\r\nhost: x\r\n{heads}\r\n".encode())
    for sent in requests:
        await wire.send(sent)
        status, answered = await wire.head()
        await wire.body(answered, lambda _: None)
        found.append(status)
        if answered.get("connection") == "close":
            wire.close()
    wire.close()
    return found


def ask_everywhere(run: Rig, payload: str) -> list[str]:
    """Give `payload` to every command that looks something up; what answered otherwise than it should."""
    wrong = []
    for words, code in (
        (("log", "ls", "--model", payload), 0),
        (("log", "ls", "--since", payload), 2),
        (("show", payload), 2),
        (("route", "show", payload), 2),
        (("rollback", payload), 2),
        (("key", "revoke", payload), 2),
        (("log", "erase", "--user", f"{payload} ", "--dry-run"), 0),
    ):
        done = call(*words, "--data", run.data, *(() if words[:2] == ("log", "ls") else ("--json",)))
        told = done.err if code else done.out
        if done.code != code or len(told.splitlines()) > 1 or (words[:2] == ("log", "ls") and done.out):
            wrong.append(f"{words}: {done.code} {done.out[:200]} {done.err[:300]}")
    return wrong


def check_row(row: dict[str, Any], payload: str, *, headers: bool) -> None:
    """The record of the one request of a payload that was served: it says what was sent, letter for letter."""
    assert row["metadata"] == {"user_id": payload, payload: payload, "tenant_id": payload}
    assert row["request"]["user"] == row["request"]["messages"][0]["content"] == payload
    assert (row["unit_kind"], row["unit"]) == ("user", xxhash.xxh3_64_hexdigest(payload.encode()))
    if headers:
        assert row["segments"]["team"] == payload[:64]
        assert row.get("client_request_id") == (payload if " " not in payload else None)
    assert "parent_id" not in row or row["parent_id"] is None


def test_whatever_is_written_anywhere_is_a_value_and_nothing_else(tmp_path: Path) -> None:
    places = {payload: payload in PAYLOADS for payload in (*PAYLOADS, *STRANGE)}
    with rig(tmp_path, answer="fine") as run:
        for payload, headers in places.items():
            first, *others = asyncio.run(say_everywhere(run, payload, headers=headers))
            assert first == 200, payload
            assert set(others) <= {400, 404, 503}, (payload, others)  # 503: the keeper was busy, and nothing was looked up
        wrong = [line for payload in PAYLOADS[:: figure(8, 1)] for line in ask_everywhere(run, payload)]
        assert wrong == []
        rows = run.records()
        assert len(rows) == len(places)
        for row, (payload, headers) in zip(rows, places.items(), strict=True):
            check_row(row, payload, headers=headers)
        for payload in PAYLOADS[: figure(1, 5)]:
            erased = call("log", "erase", "--user", payload, "--data", run.data, "--json")
            assert erased.json["requests"] == 1, "of everybody's requests just that user's"
        left = {row["request_id"] for row in run.records()}
        assert left == {row["request_id"] for row in rows[figure(1, 5) :]}
        assert call("key", "create", "--data", run.data, "--json").code == 0, "the table of keys is still there"
        assert len(call("key", "ls", "--data", run.data, "--json").json) == 1
        assert call("store", "verify", "--data", run.data, "--json").code == 0
        assert not list(REPOSITORY.glob("out.csv"))
        say("T59", payloads=len(places), records=len(rows), wrong=len(wrong))


def formatted(node: ast.AST) -> tuple[str, set[str]] | None:
    """A text with something put into it, and what that is as it stands in the program; None for any other piece of a program."""
    if isinstance(node, ast.JoinedStr) and any(isinstance(each, ast.FormattedValue) for each in node.values):
        text = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
        return text, {ast.unparse(each.value) for each in node.values if isinstance(each, ast.FormattedValue)}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant):
        return (node.left.value, {ast.unparse(node.right)}) if isinstance(node.left.value, str) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        base = node.func.value
        given = {ast.unparse(each) for each in node.args} | {ast.unparse(each.value) for each in node.keywords}
        return (base.value, given) if isinstance(base, ast.Constant) and isinstance(base.value, str) else None
    return None


def statements_of(program: str) -> list[tuple[str, set[str]]]:
    """Every statement of SQL in a program that something is put into, and what."""
    found = [made for node in ast.walk(ast.parse(program)) if (made := formatted(node)) is not None]
    return [made for made in found if SQL.match(made[0])]


def test_no_statement_is_put_together_from_values() -> None:
    files = sorted((REPOSITORY / "src/tunekeeper/store").rglob("*.py"))
    assert len(files) > 40
    found = [(path.name, *made) for path in files for made in statements_of(path.read_text("utf-8"))]
    assert len(found) > 10
    assert not [made for made in found if not made[2] <= PIECES]


@pytest.mark.parametrize("program", ["f'SELECT {x}'", "'delete from t where a = %s' % x", "' Insert into {} '.format(x)"])
def test_such_a_statement_would_be_found(program: str) -> None:
    assert statements_of(f"def f(x):\n    return g({program})") != []
