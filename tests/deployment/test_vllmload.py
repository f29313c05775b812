from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter, make_other_base, make_transcript
from tunekeeper.core.errors import ArtifactError, GateFailed, UpstreamUnavailable
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.deployment.vllmadapter import Base, Wanted, read_base
from tunekeeper.deployment.vllmload import load, plan
from tunekeeper.engines.vllm import VllmServer
from tunekeeper.testing.vllm import VllmDouble, serving


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "one")


@pytest.fixture(scope="module")
def references(adapter: Path) -> list[Reference]:
    return read_transcript(make_transcript(adapter.with_suffix(".jsonl"), adapter))


@pytest.fixture(scope="module")
def base() -> Base:
    return read_base(BASE)


def loads(double: VllmDouble) -> int:
    return sum(path == "/v1/load_lora_adapter" for _, path, _ in double.asked)


def wanted(base: Base, adapter: Path, **more: Any) -> Wanted:
    return Wanted(**{"base": base, "name": "desk:v1-1", "folder": adapter, "there": str(adapter), **more})


def test_a_version_is_loaded_listed_and_compared_and_again_without_effect(
    base: Base, adapter: Path, references: list[Reference]
) -> None:
    with serving(BASE, name="base") as double:
        server = VllmServer(double.url)
        seen = plan(server, wanted(base, adapter), references)
        assert (seen.loaded, seen.parity, double.adapters) == (True, None, {})
        served = load(server, wanted(base, adapter), references, Limits())
        assert (served.name, served.endpoint, served.base, served.root) == ("desk:v1-1", double.url + "/v1", "base", str(BASE))
        assert (served.loaded, served.proof, served.parity.verdict) == (True, "digest", "pass")
        assert double.adapters == {"desk:v1-1": str(adapter)}
        assert load(server, wanted(base, adapter), references, Limits()).loaded is False
        assert plan(server, wanted(base, adapter), references).loaded is False
        assert loads(double) == 1


def test_a_version_stands_beside_the_one_before(base: Base, adapter: Path, references: list[Reference], tmp_path: Path) -> None:
    other = make_adapter(tmp_path / "two", 2)
    with serving(BASE) as double:
        server = VllmServer(double.url)
        load(server, wanted(base, adapter), references, Limits())
        second = read_transcript(make_transcript(tmp_path / "t.jsonl", other))
        load(server, wanted(base, other, name="desk:v2-2", there=str(other)), second, Limits())
        assert list(double.adapters) == ["desk:v1-1", "desk:v2-2"]


def test_an_adapter_that_vllm_would_accept_on_another_base_is_refused(
    base: Base, adapter: Path, references: list[Reference], tmp_path: Path
) -> None:
    with serving(make_other_base(tmp_path / "other")) as double:
        server = VllmServer(double.url)
        assert server.load("by-hand", str(adapter)) is True  # it does accept it
        with pytest.raises(ArtifactError, match="serves another base"):
            load(server, wanted(base, adapter), references, Limits())
        assert list(double.adapters) == ["by-hand"]


def test_where_the_base_cannot_be_seen_its_answers_tell(
    base: Base, adapter: Path, references: list[Reference], tmp_path: Path
) -> None:
    with serving(BASE, root="org/base") as double:
        assert load(VllmServer(double.url), wanted(base, adapter), references, Limits()).proof == "answers"
        with pytest.raises(ArtifactError, match=r"nothing proves that vLLM at .* serves the base"):
            load(VllmServer(double.url), wanted(base, adapter), [], Limits())
        with pytest.raises(ArtifactError, match="nothing proves"):
            load(VllmServer(double.url), wanted(base, adapter), references, Limits(), answers=False)
    with serving(make_other_base(tmp_path / "other"), root="org/base") as double:
        with pytest.raises(GateFailed, match=r"merge: .*the server's base org/base may be another one"):
            load(VllmServer(double.url), wanted(base, adapter), references, Limits())
        assert double.adapters == {}


def test_one_that_answers_other_than_in_training_is_unloaded_unless_something_points_at_it(
    base: Base, adapter: Path, references: list[Reference], tmp_path: Path
) -> None:
    other = make_adapter(tmp_path / "two", 2)
    wrong = wanted(base, other, there=str(other))
    with serving(BASE) as double:
        server = VllmServer(double.url)
        with pytest.raises(GateFailed, match="does not answer as it was trained: merge: largest gap"):
            load(server, wrong, references, Limits())
        assert double.adapters == {}
        with pytest.raises(GateFailed):
            load(server, wrong, references, Limits(), guarded=True)
        assert double.adapters == {"desk:v1-1": str(other)}


def test_a_name_that_stands_for_another_folder_is_not_touched(
    base: Base, adapter: Path, references: list[Reference], tmp_path: Path
) -> None:
    other = make_adapter(tmp_path / "two", 2)
    with serving(BASE) as double:
        server = VllmServer(double.url)
        server.load("desk:v1-1", str(other))
        with pytest.raises(ArtifactError, match=r"has desk:v1-1 from .*two on .*, not from"):
            load(server, wanted(base, adapter), references, Limits())
        assert double.adapters == {"desk:v1-1": str(other)}


def test_prompts_that_the_server_has_no_room_for_are_left_out_and_said(
    base: Base, adapter: Path, references: list[Reference]
) -> None:
    longest = max(len(r.prompt_ids) + len(r.answer_ids) for r in references)
    with serving(BASE, length=longest) as double:
        served = load(VllmServer(double.url), wanted(base, adapter), references, Limits())
        assert served.parity is not None
        assert served.parity.verdict == "pass"
        assert served.notes[0].endswith(f"of 3 reference prompts are longer than --max-model-len {longest}")


def test_without_a_transcript_one_warm_up_answer_is_asked_for(base: Base, adapter: Path) -> None:
    with serving(BASE) as double:
        served = load(VllmServer(double.url), wanted(base, adapter), [], Limits())
        assert (served.parity, served.proof) == (None, "digest")
        assert [path for _, path, _ in double.asked].count("/v1/chat/completions") == 1
        double.faults.append(("/v1/chat/completions", 500, {"error": {"message": "out of memory"}}))
        double.adapters.clear()
        with pytest.raises(UpstreamUnavailable, match="out of memory"):
            load(VllmServer(double.url), wanted(base, adapter), [], Limits())
        assert double.adapters == {}


def test_the_base_itself_is_asked_by_its_own_name(base: Base, references: list[Reference]) -> None:
    with serving(BASE, name="base") as double:
        bare = Wanted(base=base, name=None)
        served = load(VllmServer(double.url), bare, references, Limits(), answers=False)
        assert (served.name, served.path, served.loaded, served.proof) == ("base", None, False, "digest")
        assert served.parity is not None
        assert (served.parity.verdict, served.parity.layer) == ("inconclusive", "merge")  # nobody trained its answers
        assert loads(double) == 0
