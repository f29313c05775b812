"""HTTP to a provider: how long it is waited for, what is said of its refusals, where the key goes."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError, UpstreamUnavailable, UserError
from tunekeeper.testing.hosted import Fault, Providers
from tunekeeper.training.hosted.wire import Unanswered, Wire


def wire(there: Providers, rests: list[float], **changes: object) -> Wire:
    made = Wire(name="openai", endpoint=there.endpoint("openai"), api_key=there.key, key_env="KEY", rest=rests.append)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_busy_provider_is_asked_again_when_it_says_and_each_time_later(there: Providers) -> None:
    rests: list[float] = []
    told: list[str] = []
    busy = [Fault("GET", "/files", "429", 7), Fault("GET", "/files", "503"), Fault("GET", "/files", "drop")]
    there.faults.extend(busy)
    assert wire(there, rests, told=told.append).get("/files")["data"] == []
    assert rests == [7.0, 2.0, 4.0]
    assert told[0] == "openai GET /openai/v1/files: status 429: planted 429; asked again in 7 s"


def test_patience_has_an_end_that_says_how_to_go_on(there: Providers) -> None:
    rests: list[float] = []
    there.faults.extend([Fault("GET", "/files", "500")] * 9)
    with pytest.raises(UpstreamUnavailable, match="given up after 7 s of waiting") as given_up:
        wire(there, rests, patience=10.0).get("/files")
    assert rests == [1.0, 2.0, 4.0]
    assert given_up.value.fix == "repeat the command: it goes on where it was"
    there.faults.clear()
    there.faults.append(Fault("GET", "/files", "429", 7200))
    with pytest.raises(UpstreamUnavailable, match=r"planted 429; it asks to wait 7,200 s; given up after 0 s"):
        wire(there, [], patience=10.0).get("/files")


def test_a_refusal_is_told_in_the_providers_words_and_not_repeated(there: Providers) -> None:
    rests: list[float] = []
    with pytest.raises(UserError, match="openai refused GET /files/none: status 404: No such File object: none"):
        wire(there, rests).get("/files/none")
    with pytest.raises(ConfigError, match="Incorrect API key provided") as refused:
        wire(there, rests, api_key="wrong").get("/files")
    assert refused.value.fix == "export KEY=…"
    assert "wrong" not in str(refused.value)
    assert rests == []
    assert there.key not in repr(wire(there, rests))


def test_a_quota_that_is_used_up_is_not_waited_for(there: Providers, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunekeeper.testing import hosteddialects

    error = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    monkeypatch.setattr(hosteddialects, "error", lambda *_: error)
    there.faults.append(Fault("GET", "/files", "429"))
    with pytest.raises(UserError, match="You exceeded your current quota"):
        wire(there, []).get("/files")


def test_an_address_where_nobody_listens_or_that_is_none(there: Providers) -> None:
    with pytest.raises(Unanswered, match="openai GET /v1/files: ConnectionRefusedError"):
        wire(there, [], endpoint="http://127.0.0.1:9/v1").once("GET", "/files")
    with pytest.raises(ConfigError, match="is not an http address"):
        wire(there, [], endpoint="ftp://host").once("GET", "/files")


def test_the_key_does_not_follow_a_download_to_another_host(there: Providers, tmp_path: Path) -> None:
    there.jobs["ft-1"] = {"who": "together", "body": {}, "at": 0, "ended": None, "why": None}
    made = wire(there, [], endpoint=there.endpoint("together"))
    made.download("/finetune/download?ft_id=ft-1&checkpoint=adapter", tmp_path / "a", 10_000_000)
    assert (tmp_path / "a").read_bytes() == there.archive
    (asked,) = (each for each in there.asked if each.path.startswith("/store"))
    assert "authorization" not in asked.headers
    with pytest.raises(UserError, match="status 400"):
        made.download("/finetune/download?ft_id=none", tmp_path / "b", 10)


def test_a_disk_without_room_is_no_fault_of_the_provider(there: Providers, tmp_path: Path) -> None:
    there.jobs["ft-1"] = {"who": "together", "body": {}, "at": 0, "ended": None, "why": None}
    there.archive = bytes(4_000_000)
    made = wire(there, [], endpoint=there.endpoint("together"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            made.download("/finetune/download?ft_id=ft-1&checkpoint=adapter", tmp_path / "a", 10_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_large_file_is_sent_piece_by_piece_and_arrives_whole(there: Providers, tmp_path: Path) -> None:
    content = b'{"messages": []}\n' * 50_000
    (tmp_path / "rows").write_bytes(content)
    reply = wire(there, []).send_file("/files", tmp_path / "rows", "rows.jsonl", {"purpose": "fine-tune"})
    assert reply.status == 200
    assert there.files[reply.value["id"]]["content"] == content
