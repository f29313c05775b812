"""What the entries of `log.sinks` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.config.serving import load_serve_file
from tunekeeper.core.errors import ConfigError
from tunekeeper.notify.sinkconfig import SinkConfig, doubled

MODEL = "models: {desk: {slots: {a: {endpoint: 'http://127.0.0.1:9/v1', model: m}}, route: {a: 10000}}}\n"


def load(tmp_path: Path, sinks: str) -> tuple[SinkConfig, ...]:
    (tmp_path / "g.yaml").write_text(f"{MODEL}log:\n  sinks:\n{sinks}")
    return load_serve_file(tmp_path / "g.yaml").log.sinks


def test_every_kind_is_read_from_a_file(tmp_path: Path) -> None:
    sinks = "    - {kind: stdout}\n    - {kind: file, path: out/all.jsonl}\n    - {kind: datadog, tags: ['env:live']}\n"
    sinks += "    - {kind: cloudwatch, region: eu-central-1, group: live, bodies: true}\n    - {kind: file, name: second}\n"
    found = load(tmp_path, sinks)
    assert [each.label for each in found] == ["stdout", "file", "datadog", "cloudwatch", "second"]
    assert doubled(found) is None


@pytest.mark.parametrize(
    ("sink", "why"),
    [
        ("{kind: stdout, path: a.jsonl}", "a sink of kind stdout has no path"),
        ("{kind: datadog, group: live}", "a sink of kind datadog has no group"),
        ("{kind: datadgo}", "write 'datadog'"),
        ("{kind: file, pth: a.jsonl}", "unknown key 'pth'"),
        ("{kind: file, path: a.log}", "writes JSON lines"),
        ("{kind: file, max_mb: 0}", "max_mb is 0"),
        ("{kind: file, keep: -1}", "keep is -1"),
        ("{kind: file, name: ../up}", "cannot name a sink"),
        ("{kind: datadog, timeout: 90}", "timeout is 90"),
        ("{kind: cloudwatch, region: x}", "needs region, group and stream"),
        ("{kind: stdout}\n    - {kind: stdout}", "two are called 'stdout'"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, sink: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, f"    - {sink}\n")
    assert why in str(error.value)
    assert "g.yaml:" in str(error.value)
