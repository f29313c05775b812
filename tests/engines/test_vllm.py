"""The engine and its server, against the double; what is marked `vllm` asks a real one, started once (make test-vllm)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter
from tests.engines.vllmexchanges import RECORD, exchanges
from tests.engines.vllmreal import SLOW, make_trained, really_serving
from tunekeeper.core.errors import ArtifactError, ConfigError, GateFailed, UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.vllmadapter import Wanted, read_base
from tunekeeper.deployment.vllmload import load
from tunekeeper.engines import ENGINES, ChatClient, healthy
from tunekeeper.engines.vllm import VLLM, VllmServer
from tunekeeper.testing.contracts import check_engine
from tunekeeper.testing.vllm import serving

ASK = [{"role": "user", "content": "I was charged twice."}]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    make_adapter(folder / "one", 1)
    make_adapter(folder / "two", 2)
    make_adapter(folder / "dora", 3, use_dora=True)
    make_adapter(folder / "wide", 4, rank=32)
    return folder


def test_it_keeps_the_contract_and_says_whether_it_takes_adapters(tmp_path: Path) -> None:
    check_engine(VLLM, tmp_path, slot=Slot(id="s", model="desk", engine="vllm", upstream_model="desk:v1"))
    with serving(BASE, name="base") as double:
        found = VLLM().probe(double.url + "/v1")
        assert (found.models, found.logprobs, found.adapters) == (("base",), True, True)
        assert healthy(double.url, engine="vllm")
    with serving(BASE, name="base", updating=False) as double:
        assert VLLM().probe(double.url).adapters is False
    assert ENGINES.load("vllm") is VLLM


def test_an_adapter_is_loaded_listed_asked_and_unloaded(adapters: Path) -> None:
    with serving(BASE, name="base") as double:
        server = VllmServer(double.url + "/v1")
        assert server.load("desk:v1", str(adapters / "one")) is True
        assert server.load("desk:v1", str(adapters / "one")) is False
        assert server.load("desk:v2", str(adapters / "two")) is True
        holding = server.holding()
        assert (holding.base, holding.root, holding.length) == ("base", str(BASE), 512)
        assert {name: (each.path, each.parent) for name, each in holding.adapters.items()} == {
            "desk:v1": (str(adapters / "one"), "base"),
            "desk:v2": (str(adapters / "two"), "base"),
        }
        answers = {name: ChatClient(double.url, name).chat(ASK, max_tokens=8).text for name in ("base", "desk:v1", "desk:v2")}
        assert len(set(answers.values())) == 3
        assert [server.unload("desk:v1"), server.unload("desk:v1")] == [True, False]
        with pytest.raises(UpstreamUnavailable, match="does not exist"):
            ChatClient(double.url, "desk:v1").chat(ASK, max_tokens=8)


def test_what_a_model_thinks_of_its_own_greedy_answer_is_that_it_would_choose_it(adapters: Path) -> None:
    with serving(BASE) as double:
        server = VllmServer(double.url)
        server.load("desk", str(adapters / "one"))
        prompt = server.prompt_ids("desk", ASK)
        assert prompt == double.prompt(ASK)
        said = double.mind("desk").say(prompt, 6, {})
        judged = server.judged("desk", prompt, said.ids)
        assert [token.rank for token in judged] == [1] * len(said.ids)
        assert [token.logprob for token in judged] == pytest.approx(said.logprobs)
        assert server.ends_after("desk", prompt, 2) is True
        assert server.ends_after("desk", prompt, 5) is False
        assert server.text_ids("desk", "hello") == double.tokenizer.encode("hello")
        assert server.chat("desk", ASK, 6) == double.tokenizer.decode(said.ids[: len(said.ids) - said.stopped])


@pytest.mark.parametrize(
    ("name", "options", "kind", "sentence"),
    [
        (
            "one",
            {"updating": False},
            UpstreamUnavailable,
            "takes no adapters at run time .*VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
        ),
        ("one", {"lora": False}, UpstreamUnavailable, "runs without --enable-lora"),
        ("wide", {}, ArtifactError, "takes ranks up to 16, the adapter of desk has rank 32 .*--max-lora-rank 32"),
        ("dora", {}, ArtifactError, "refused desk: vLLM does not yet support DoRA.$"),
        ("gone", {}, ArtifactError, "does not see .*gone .*deployment.adapters_there"),
        ("one/adapter_config.json", {}, ArtifactError, "does not see"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(
    adapters: Path, name: str, options: dict[str, bool], kind: type[Exception], sentence: str
) -> None:
    with serving(BASE, name="base", **options) as double:
        with pytest.raises(kind, match=sentence) as refused:
            VllmServer(double.url).load("desk", str(adapters / name))
        assert "\n" not in str(refused.value)
        assert double.adapters == {}


def test_the_key_goes_with_every_question_and_a_wrong_one_is_named(adapters: Path) -> None:
    with serving(BASE, api_key="sesame") as double:
        server = VllmServer(double.url, "sesame")
        assert (server.load("desk", str(adapters / "one")), server.takes_adapters()) == (True, True)
        for key in (None, "wrong"):
            stranger = VllmServer(double.url, key)
            for ask in (
                stranger.holding,
                lambda s=stranger: s.load("x", str(adapters / "one")),
                lambda s=stranger: s.unload("x"),
            ):
                with pytest.raises(UpstreamUnavailable, match="refuses the key"):
                    ask()


@pytest.mark.parametrize(
    "answer", [b"[]", b"{}", b'{"data": []}', b'{"data": [{"id": "m"}]}', b'{"data": 1}', b"<html>", b"null"]
)
def test_a_server_of_another_kind_is_said_to_be_one(answer: bytes) -> None:
    with serving(BASE) as double:
        double.faults.append(("/v1/models", 200, answer.decode()))
        with pytest.raises(UpstreamUnavailable, match="is no vLLM"):
            VllmServer(double.url).holding()
        double.faults.append(("/v1/completions", 200, answer.decode()))
        with pytest.raises(UpstreamUnavailable, match="is no vLLM"):
            VllmServer(double.url).judged("", [1, 2], [3])


def test_a_server_that_is_away_is_said_to_be_away() -> None:
    with serving(BASE) as double:
        server = VllmServer(double.url)
        double.faults.append(("/v1/models", 0, None))
        with pytest.raises(UpstreamUnavailable, match="no vLLM answers at"):
            server.holding()
    with pytest.raises(UpstreamUnavailable, match="no vLLM answers at"):
        server.load("desk", "/x")
    with pytest.raises(ConfigError):
        VllmServer("localhost:8000")


# ---- a real one ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters that PEFT wrote, and what transformers answers with them."""
    return make_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real vLLM that serves the example's base as `base`, on the CPU; one for all tests: it takes a minute and 3 GB."""
    options = ("--enable-lora", "--max-loras", "2", "--max-lora-rank", "16")
    with really_serving(BASE, "base", tmp_path_factory.mktemp("vllm"), *options, VLLM_ALLOW_RUNTIME_LORA_UPDATING="True") as url:
        yield url


def into(url: str, trained: Path, name: str, *, base: Path = BASE, answers: str = "") -> object:
    """Load an adapter the product's way; `answers`: whose transcript it is held to."""
    wanted = Wanted(base=read_base(base), name=f"test-{name}", folder=trained / name, there=str(trained / name))
    return load(VllmServer(url), wanted, read_transcript(trained / f"{answers or name}.jsonl"), Limits(exact_gap=0.01))


@pytest.mark.vllm
@pytest.mark.timeout(SLOW)
def test_a_real_one_answers_as_recorded(real: str, trained: Path) -> None:
    assert exchanges(real, trained) == json.loads(RECORD.read_text())


@pytest.mark.vllm
@pytest.mark.timeout(SLOW)
def test_a_real_one_keeps_the_engine_contract(real: str) -> None:
    found = VLLM().probe(real)
    assert (found.models, found.logprobs, found.adapters) == (("base",), True, True)
    assert VLLM().request_fields(Slot(id="s", model="m", upstream_model="base")) == {"model": "base"}
    answer = ChatClient(real, "base", total=SLOW - 300).chat(ASK, max_tokens=4)
    assert (answer.finish_reason, answer.completion_tokens) == ("length", 4)


@pytest.mark.vllm
@pytest.mark.timeout(SLOW)
@pytest.mark.parametrize("name", ["desk", "rslora"])
def test_a_real_one_answers_with_each_kind_of_adapter_as_in_training(real: str, trained: Path, name: str) -> None:
    served = into(real, trained, name)
    try:
        assert served.loaded
        assert (served.proof, served.parity.verdict) == ("digest", "pass")
        merge = next(check for check in served.parity.checks if check.layer == "merge")
        assert merge.value < 1e-3
        assert into(real, trained, name).loaded is False
    finally:
        assert VllmServer(real).unload(f"test-{name}") is True


@pytest.mark.vllm
@pytest.mark.timeout(SLOW)
def test_a_real_one_accepts_an_adapter_of_another_base_and_we_do_not(real: str, trained: Path) -> None:
    server = VllmServer(real)
    assert server.load("foreign", str(trained / "foreign")) is True
    reference = read_transcript(trained / "foreign.jsonl")[0]
    judged = server.judged("foreign", reference.prompt_ids, reference.answer_ids)
    assert max(abs(token.logprob - known) for token, known in zip(judged, reference.logprobs, strict=True)) > 0.1
    assert server.unload("foreign") is True
    with pytest.raises(ArtifactError, match="the adapter was trained on base"):
        into(real, trained, "foreign")  # by the digest that its own files name
    with pytest.raises(ArtifactError, match="serves another base"):
        into(real, trained, "foreign", base=trained / "otherbase")  # by the digest of what the server serves
    with pytest.raises(GateFailed, match="does not answer as it was trained: merge"):
        into(real, trained, "desk", answers="foreign")
    assert server.holding().adapters == {}


@pytest.mark.vllm
@pytest.mark.timeout(SLOW)
@pytest.mark.parametrize(
    ("name", "sentence"),
    [("dora", "refused x: vLLM does not yet support DoRA"), ("wide", "takes ranks up to 16"), ("gone", "does not see")],
)
def test_what_a_real_one_refuses_is_said_in_one_line(real: str, trained: Path, name: str, sentence: str) -> None:
    with pytest.raises(ArtifactError, match=sentence) as refused:
        VllmServer(real).load("x", str(trained / name))
    assert "\n" not in str(refused.value)
