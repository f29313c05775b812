from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tunekeeper.config import environment, load_project, origins
from tunekeeper.config.project import ROOMS, LogConfig, ProjectConfig
from tunekeeper.core.errors import ConfigError, NotFound


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    rank: int = 16
    words: tuple[str, ...] = ()


SECTIONS: dict[str, type] = dict.fromkeys(ROOMS, Section)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def load(folder: Path, files: dict[str, str], **more: object) -> ProjectConfig:
    options = {"environ": {}, "sections": SECTIONS, **more}
    return load_project(write(folder, files), **options)  # type: ignore[arg-type]


def refused(folder: Path, files: dict[str, str], **more: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, files, **more)
    return str(caught.value)


def test_a_project_becomes_frozen_sections_with_defaults(tmp_path):
    files = {
        "tunekeeper.yaml": "project: acme\ngateway: {port: 9000}\n",
        "models/support-desk.yaml": "model: support-desk\nclient: acme\nlevel: 3\ntraining: {rank: 8}\n",
        "models/.draft.yaml": "nonsense",
    }
    config = load(tmp_path, files)
    model = config.model("support-desk")
    assert (config.name, config.gateway.port, config.gateway.host) == ("acme", 9000, "127.0.0.1")
    assert (model.task.name, model.task.client, model.task.level) == ("support-desk", "acme", 3)
    assert (model.sections["training"], model.sections["data"]) == (Section(rank=8), Section())
    assert set(model.sections) == set(ROOMS)


def test_files_of_the_gateways_detector_of_names_are_found_in_the_project_or_missed_at_once(tmp_path: Path) -> None:
    files = {"tunekeeper.yaml": "gateway: {redact: [name], names: {detector: list, file: n.txt}}\n"}
    with pytest.raises(ConfigError, match=r"no file .*n\.txt"):
        load(tmp_path, files)
    names = load(tmp_path, {**files, "n.txt": "Ana\n"}).gateway.names
    assert names == {"detector": "list", "file": str(tmp_path / "n.txt")}


def test_a_project_without_its_file_says_how_to_make_one(tmp_path):
    with pytest.raises(NotFound, match="tunekeeper init"):
        load_project(tmp_path, environ={})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tunekeeper.yaml": "gatway: {}\n"}, "tunekeeper.yaml:1: unknown key 'gatway' (fix: write 'gateway')"),
        ({"tunekeeper.yaml": "gateway:\n  prot: 1\n"}, "tunekeeper.yaml:2: unknown key 'prot' in gateway (fix: write 'port')"),
        (
            {"tunekeeper.yaml": "gateway: 5\n"},
            "tunekeeper.yaml:1: gateway: expected keys and values, got int"
            " (fix: write gateway: on a line of its own, its keys indented below it, or leave it out)",
        ),
        (
            {"tunekeeper.yaml": "gateway: {redact: [name]}\n"},
            "tunekeeper.yaml:1: gateway.redact: names need a detector (fix: write e.g. names: {detector: list, file: names.txt})",
        ),
        ({"tunekeeper.yaml": "project: 5\n"}, "tunekeeper.yaml:1: project: expected text (fix: put the value in quotes)"),
        (
            {"tunekeeper.yaml": "", "models/a.yaml": "model: a\ntrainig: {}\n"},
            "models/a.yaml:2: unknown key 'trainig' (fix: write 'training')",
        ),
        (
            {"tunekeeper.yaml": "", "models/a.yaml": "training:\n  rank: x\n"},
            "models/a.yaml:2: training.rank: expected int, got str (fix: write a whole number without quotes)",
        ),
        (
            {"tunekeeper.yaml": "", "models/a.yaml": "model: b\n"},
            "models/a.yaml:1: model: 'b' stands in a file called a.yaml (fix: write 'a')",
        ),
        (
            {"tunekeeper.yaml": "", "models/a.yaml": "level: 7\n"},
            "models/a.yaml:1: level: 7 is not a maturity level (fix: write 1, 2, 3 or 4)",
        ),
        (
            {"tunekeeper.yaml": "", "models/a.yaml": "level: 2\nformat: {kind: jsno}\n"},
            "models/a.yaml:2: format: kind 'jsno' is none of json, regex, schema, text (fix: write 'json')",
        ),
        ({"tunekeeper.yaml": "", "models/a.yml": ""}, "models/a.yml: would be passed over (fix: rename it to a.yaml)"),
        (
            {"tunekeeper.yaml": "worker: {tick_seconds: 900}\n"},
            "tunekeeper.yaml:1: worker.tick_seconds is 900; it must lie between 0.1 and 60 seconds",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path, files, said):
    assert refused(tmp_path, files) == said


def test_a_model_that_no_file_names_is_told_with_the_near_one(tmp_path):
    config = load(tmp_path, {"tunekeeper.yaml": "", "models/support-desk.yaml": ""})
    with pytest.raises(NotFound, match="write 'support-desk'"):
        config.model("suport-desk")
    with pytest.raises(NotFound, match=r"fix: write models/billing\.yaml"):
        config.model("billing")
    with pytest.raises(NotFound, match="fix: tunekeeper status names them"):  # no file can have that name
        config.model("../x y")


def test_flags_go_before_variables_before_the_env_file_before_the_file(tmp_path):
    files = {"tunekeeper.yaml": "gateway: {port: 1, workers: 1, host: 127.0.0.1}\n", ".env": "TUNEKEEPER_GATEWAY_WORKERS=5\n"}
    variables = {"TUNEKEEPER_GATEWAY_PORT": "2", "TUNEKEEPER_GATEWAY_LIMITS_BODY_MB": "7", "TUNEKEEPER_GATEWAY_KEY": "tk_secret"}
    config = load(tmp_path, files, environ=variables, flags={"gateway.port": 3, "gateway.host": None})
    assert (config.gateway.port, config.gateway.workers, config.gateway.limits.body_mb) == (3, 5, 7)
    came = {each.key: each.origin for each in origins(config)}
    assert came["gateway.port"] == "--port"
    assert came["gateway.workers"] == "TUNEKEEPER_GATEWAY_WORKERS"
    assert came["gateway.limits.body_mb"] == "TUNEKEEPER_GATEWAY_LIMITS_BODY_MB"
    assert came["gateway.host"] == "tunekeeper.yaml:1"
    assert came["gateway.durability"] == "default"
    assert "tk_secret" not in str(origins(config))


def test_a_wrong_variable_is_named_and_not_a_line_of_the_file(tmp_path):
    said = refused(tmp_path, {"tunekeeper.yaml": "\n\ngateway: {port: 1}\n"}, environ={"TUNEKEEPER_GATEWAY_PORT": "fast"})
    fix = "write a whole number without quotes"
    assert said == f"TUNEKEEPER_GATEWAY_PORT: gateway.port: expected int, got str (fix: {fix})"


def test_origins_name_the_line_of_each_value_of_a_model(tmp_path):
    config = load(tmp_path, {"tunekeeper.yaml": "", "models/a.yaml": "client: x\ntraining:\n  rank: 8\n"})
    came = {each.key: (each.value, each.origin) for each in origins(config)}
    assert came["a.client"] == ("x", "models/a.yaml:1")
    assert came["a.training.rank"] == (8, "models/a.yaml:3")
    assert came["a.data.rank"] == (16, "default")


def test_the_env_file_is_read_line_by_line(tmp_path):
    write(tmp_path, {".env": "# a comment\n\nexport A='x y'\nB=\"2\"\nC=\n"})
    assert environment(tmp_path, {"B": "own"}) == {"A": "x y", "B": "own", "C": ""}
    write(tmp_path, {".env": "A=1\nnonsense\n"})
    with pytest.raises(ConfigError, match=r"\.env:2: expected NAME=value"):
        environment(tmp_path, {})
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfA=1\n")
    assert environment(tmp_path, {}) == {"A": "1"}
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match=r"\.env: not UTF-8 at byte 3"):
        environment(tmp_path, {})


def test_the_log_is_kept_thirteen_months_and_its_texts_thirty_days_unless_told_otherwise(tmp_path):
    assert load(tmp_path, {"tunekeeper.yaml": ""}).log == LogConfig(days=395, body_days=30)
    config = load(tmp_path, {"tunekeeper.yaml": "log: {body_days: 7}\n"}, environ={"TUNEKEEPER_LOG_DAYS": "60"})
    assert config.log == LogConfig(days=60, body_days=7)
    assert {each.key: each.origin for each in origins(config) if each.key.startswith("log.")} == {
        "log.days": "TUNEKEEPER_LOG_DAYS",
        "log.body_days": "tunekeeper.yaml:1",
        "log.max_gb": "default",
        "log.sinks": "default",
    }
    assert "log.max_gb is 0" in refused(tmp_path, {"tunekeeper.yaml": "log: {max_gb: 0}\n"})
    assert "log.max_gb is nan" in refused(tmp_path, {"tunekeeper.yaml": "log: {max_gb: .nan}\n"})
    assert "log.body_days is 500, longer than" in refused(tmp_path, {"tunekeeper.yaml": "log: {body_days: 500}\n"})
