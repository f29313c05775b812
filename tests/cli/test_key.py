"""`tunekeeper key`, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_a_key_is_made_shown_once_listed_and_revoked(tell: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = tell("key", "create", "--scope", "infer,feedback", "--scope", "metrics", "--name", "site", "--data", data, "--json")
    assert made.code == 0
    assert set(made.json) == {"id", "key"}
    assert made.json["key"].startswith("tk_")
    listed = tell("key", "ls", "--data", data, "--json")
    assert made.json["key"] not in listed.out
    shown = listed.json["keys"][0]
    assert (shown["id"], shown["scopes"], shown["name"], shown["revoked"]) == (
        made.json["id"],
        ["infer", "feedback", "metrics"],
        "site",
        False,
    )
    assert "hash" not in shown
    assert tell("key", "revoke", made.json["id"], "--data", data, "--json").json == {"id": made.json["id"], "revoked": True}
    assert "revoked" in tell("key", "ls", "--data", data).out


def test_without_json_the_key_stands_on_one_line(tell: Any, tmp_path: Path) -> None:
    said = tell("key", "create", "--data", tmp_path / "data", "--days", "0")
    assert said.code == 0
    assert said.out.splitlines()[0].startswith("key_")


def test_a_wrong_scope_and_an_unknown_id_are_one_line_each(tell: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    wrong = tell("key", "create", "--scope", "everything", "--data", data)
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "everything" in wrong.err
    unknown = tell("key", "revoke", "key_none", "--data", data)
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    nowhere = tell("key", "ls", "--data", tmp_path / "nowhere")
    assert (nowhere.code, nowhere.err.count("\n")) == (2, 1)


def test_revoking_for_show_says_what_revoking_would(tell: Any, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    made = tell("key", "create", "--data", data, "--json").json
    for _ in range(2):
        assert tell("key", "revoke", made["id"], "--data", data, "--dry-run").out == f"would revoke {made['id']}\n"
    asked = ("key", "revoke", "key_none", "--data", data)
    assert (tell(*asked, "--dry-run").code, tell(*asked, "--dry-run").err) == (2, tell(*asked).err)


def test_the_list_says_which_keys_are_over(tell: Any, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    for days in ("1e-9", "90", "0"):
        assert tell("key", "create", "--data", data, "--days", days).code == 0
    listed = tell("key", "ls", "--data", data).out.splitlines()[1:]
    assert [row.split()[-1] for row in listed] == ["expired", "live", "live"]


def test_a_key_for_an_empty_name_is_refused_also_before_any_model_is_known(tell: Any, tmp_path: Path) -> None:
    refused = tell("key", "create", "--model", "", "--data", str(tmp_path / "data"))
    assert (refused.code, "could call nothing" in refused.err) == (2, True)


def test_a_key_for_a_model_that_is_not_there_is_refused_with_the_near_name(tell: Any, project: Path, tmp_path: Path) -> None:
    for wrong in ("suport-desk", "support-desk@champion"):
        for more in ((), ("--dry-run",)):
            said = tell("key", "create", "--model", wrong, *more, "--dir", project)
            assert (said.code, said.err.count("\n")) == (2, 1)
            assert f"'{wrong}'" in said.err
            assert "write 'support-desk'" in said.err
    assert tell("key", "ls", "--dir", project, "--json").json["keys"] == []
    made = tell("key", "create", "--model", "support-desk", "--dir", project, "--json")
    assert made.code == 0
    before = tell("key", "create", "--model", "first", "--data", tmp_path / "data", "--json")
    assert before.code == 0, "a gateway that asks for a key on another address needs one before it has served any model"


def test_a_dry_run_refuses_what_the_making_would(tell: Any, tmp_path: Path) -> None:
    for wrong in (("--rate", "0"), ("--scope", "nope"), ("--days", "nan"), ("--budget", "inf")):
        assert tell("key", "create", *wrong, "--dry-run", "--data", tmp_path / "data").code == 2


def test_limits_are_given_at_the_making_and_listed(tell: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    asked = ("--rate", "60", "--tokens-per-minute", "9000", "--concurrent", "4", "--budget", "2.5", "--budget-period", "day")
    would = tell("key", "create", *asked, "--dry-run", "--data", data, "--json").json
    assert (would["requests_per_minute"], would["budget_usd"], would["dry_run"]) == (60, 2.5, True)
    made = tell("key", "create", *asked, "--data", data, "--json")
    assert set(made.json) == {"id", "key"}
    tell("key", "create", "--data", data)
    first, second = tell("key", "ls", "--data", data, "--json").json["keys"]
    names = ("requests_per_minute", "tokens_per_minute", "concurrent", "budget_usd", "budget_period")
    assert [first[name] for name in names] == [60, 9000, 4, 2.5, "day"]
    assert [second[name] for name in names] == [None] * 5
    assert "60 requests/min, 9000 tokens/min, 4 at once, 2.5 USD/day" in tell("key", "ls", "--data", data).out


def test_limits_out_of_range_are_one_line_each(tell: Any, tmp_path: Path) -> None:
    for wrong in (("--rate", "0"), ("--budget", "-1"), ("--budget", "5", "--budget-period", "year")):
        said = tell("key", "create", *wrong, "--data", tmp_path / "data")
        assert (said.code, said.err.count("\n")) == (2, 1), said.err


def test_the_list_says_whose_a_key_is_and_when_it_ends(tell: Any, project: Path) -> None:
    assert tell("key", "ls", "--dir", project).out == "no key yet: tunekeeper key create\n"
    words = ("--dir", project, "--model", "support-desk", "--rate", "60")
    made = tell("key", "create", *words, "--name", "acme", "--days", "0", "--json").json
    assert tell("key", "create", "--dir", project, "--name", "us", "--json").code == 0
    header, first, second = (line.split() for line in tell("key", "ls", "--dir", project).out.splitlines())
    assert header == ["id", "name", "scopes", "models", "limits", "expires", "state"]
    assert first == [made["id"], "acme", "infer", "support-desk", "60", "requests/min", "never", "live"]
    assert (second[3:5], len(second[5]), len(second[6]), second[7]) == (["all", "none"], 10, 5, "live")
