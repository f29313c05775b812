from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import BUG, REFUND, Tell, logged


def test_shadow_answers_are_compared_with_those_of_users(tell: Tell, desk: Path) -> None:
    asked = ("monitor", "shadow", "--model", "desk", "--dir", desk)
    told = tell(*asked, "--json")
    assert (told.code, told.json["verdict"], told.json["copies"], told.json["all"]["pairs"]) == (3, "not_enough", 2, 2)
    assert told.json["all"]["agreement"] == 0.5
    assert told.json["segments"]["plan=free"]["pairs"] == 2
    plain = tell(*asked)
    assert plain.out.startswith("NOT ENOUGH: 2 of 1000 pairs")
    assert "all: 2 pairs, 50.0% agree" in plain.out
    assert (tell(*asked, "--least", "2").code, tell(*asked, "--scorer", "none-such").code) == (0, 2)


def test_a_worse_shadow_ends_with_1_and_names_its_requests(tell: Tell, desk: Path, tmp_path: Path) -> None:
    rows = [logged(200 + i, f"question {i}", BUG) for i in range(40)]
    rows += [
        logged(300 + i, "copy", "I cannot say", purpose="shadow", parent_id=f"req_{200 + i}", version="v1.1") for i in range(40)
    ]
    file = tmp_path / "more.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tell("log", "import", file, "--dir", desk).code == 0
    told = tell("monitor", "shadow", "--model", "desk", "--version", "v1.1", "--dir", desk)
    assert told.code == 1
    assert told.out.startswith("WORSE: format; v1.1 beside what users of desk got")
    assert "req_200 → req_300: format" in told.out
    assert REFUND not in told.out
    alone = tell("monitor", "shadow", "--model", "desk", "--version", "v1.1", "--data", desk / ".tunekeeper", "--json")
    assert (alone.code, alone.json["all"]["agreement"]) == (3, 0.0), "a gateway alone knows no format"


def test_every_metric_is_listed_by_variant(tell: Tell, desk: Path, tmp_path: Path) -> None:
    rows = [logged(200 + i, f"question {i}", BUG, variant="champion", latency_ms=10.0 + i, cost_usd=0.5) for i in range(9)]
    broken = {"status": "error", "error": "upstream_timeout", "response": None}
    rows += [logged(300 + i, f"question {i}", "no", variant="challenger", **(broken if i else {})) for i in range(4)]
    file = tmp_path / "arms.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tell("log", "import", file, "--dir", desk).code == 0
    asked = ("monitor", "variants", "--model", "desk", "--dir", desk)
    found = {arm["key"]["variant"]: arm for arm in tell(*asked, "--json").json}
    assert {name: arm["requests"] for name, arm in found.items()} == {None: 12, "champion": 9, "challenger": 4}
    assert found["challenger"]["codes"] == {"upstream_timeout": 3}
    numbers = {number["name"]: number for number in found["champion"]["numbers"]}
    assert (numbers["latency_ms_p50"]["value"], numbers["cost_usd"]["value"], numbers["cost_usd_per_request"]["value"]) == (
        14,
        4.5,
        0.5,
    )
    lines = tell(*asked).out.splitlines()
    assert set(lines[0].split()) == {"None", "challenger", "champion"}
    assert any(line.startswith("upstream_timeout") for line in lines)
    assert tell(*asked, "--by", "nonsense").code == 2
    assert tell("monitor", "variants", "--model", "desk", "--data", desk / ".tunekeeper", "--json").code == 0
