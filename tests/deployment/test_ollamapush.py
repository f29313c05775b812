from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import DESK
from tests.deployment.conftest import serving as running
from tests.deployment.ollama import ANSWERS, make_file, make_transcript, trained
from tunekeeper.core.errors import DiskFull, GateFailed, UpstreamUnavailable, UserError
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.ollamapackage import Package, make_package
from tunekeeper.deployment.ollamapush import agreeing, plan, push
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.deployment.weights import Served
from tunekeeper.engines import ChatClient
from tunekeeper.engines.ollama import OllamaServer
from tunekeeper.testing.ollama import OllamaDouble, Stored, serving
from tunekeeper.text.rendering import render

NAME = "support-desk:v1.2-2026-01-15-1247examples"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("gguf")
    references = read_transcript(make_transcript(folder / "t.jsonl"))
    return make_package(NAME, Served(model=make_file(folder / "m.gguf")), references=references)


def posts(double: OllamaDouble, path: str) -> int:
    return sum(method == "POST" and asked.startswith(path) for method, asked, _ in double.asked)


@pytest.mark.parametrize("version", ["0.12.11", "0.32.15"])
def test_a_version_is_sent_created_loaded_and_compared(package: Package, version: str) -> None:
    with serving(trained, version=version) as double:
        made = push(OllamaServer(double.url), package)
        assert (made.created, made.sent, made.release) == (True, (package.digest,), version)
        assert made.verified is not None
        assert (made.verified.template, made.verified.prompts, made.verified.equal) == ("rendered", len(ANSWERS), len(ANSWERS))
        assert (made.verified.agreement, made.verified.loaded) == (1.0, True)
        assert double.loaded == {NAME: float("inf")}
        assert double.models[NAME].adapters == ()


def test_doing_it_again_sends_and_creates_nothing(package: Package) -> None:
    with serving(trained) as double:
        server = OllamaServer(double.url)
        push(server, package)
        again = push(server, package, unload=True)
        assert (again.created, again.sent, posts(double, "/api/blobs"), posts(double, "/api/create")) == (False, (), 1, 1)
        assert (again.verified is not None and again.verified.loaded, double.loaded) == (False, {})


def test_a_context_that_the_server_cut_is_refused(package: Package) -> None:
    """What is served must take what was examined: the file's own context bounds what the server gives."""
    with serving(trained) as double:
        longer = dataclasses.replace(package, parameters={**package.parameters, "num_ctx": 100_000})
        with pytest.raises(GateFailed, match=r"was loaded with a context of \d+ tokens, 100000 were asked for") as told:
            push(OllamaServer(double.url), longer)
        assert "it was deleted again" in told.value.message
        assert (double.models, double.loaded) == ({}, {})


@pytest.mark.parametrize("path", ["/api/blobs", "/api/create", "/api/show", "/api/generate", "/v1/chat/completions"])
def test_a_connection_that_breaks_anywhere_is_repeated_safely(package: Package, path: str) -> None:
    with serving(trained) as double:
        server = OllamaServer(double.url)
        double.faults.append((path, 0, None))
        with pytest.raises(UpstreamUnavailable):
            push(server, package)
        assert double.models == {}
        made = push(server, package)
        assert (made.created, list(double.models)) == (True, [NAME])


def test_what_was_left_by_a_kill_before_verification_is_verified_now(package: Package) -> None:
    with serving(trained) as double:
        server = OllamaServer(double.url)
        server.send_blob(package.model, package.digest)
        server.create(package.body())
        double.restart()
        made = push(server, package)
        assert (made.created, made.verified is not None) == (False, True)
    with serving() as double:
        server = OllamaServer(double.url)
        server.send_blob(package.model, package.digest)
        server.create(package.body())
        with pytest.raises(GateFailed, match="it was deleted again"):
            push(server, package)
        assert double.models == {}


@pytest.mark.parametrize("change", [{"template": "{{ .System }}"}, {"system": "Other."}, {"parameters": {"stop": ["x"]}}])
def test_a_name_is_never_given_to_other_content(package: Package, change: dict[str, Any]) -> None:
    with serving(trained) as double:
        server = OllamaServer(double.url)
        push(server, package)
        before = dataclasses.replace(double.models[NAME])
        with pytest.raises(UserError, match=r"is taken at .*never given to other content"):
            push(server, dataclasses.replace(package, **change))
        assert double.models == {NAME: before}


def test_answers_that_are_not_trainings_are_refused_and_the_name_is_gone(package: Package) -> None:
    with serving(lambda prompt, model, options: "No.") as double:
        with pytest.raises(GateFailed, match=r"weights: only \d+% .*it was deleted again") as error:
            push(OllamaServer(double.url), package)
        assert (double.models, double.loaded, error.value.exit_code) == ({}, {}, 1)
        assert "\n" not in str(error.value)


def test_a_server_that_renders_otherwise_is_found_out(package: Package) -> None:
    class Twisted(OllamaDouble):
        def prompt(self, model: Any, messages: list[dict[str, Any]]) -> str:
            return super().prompt(model, messages) + "\n"

    for renders, why in ((True, "template: it makes the prompt"), (False, "template: only")):
        with serving(trained, kind=Twisted, renders=renders) as double:
            with pytest.raises(GateFailed, match=why):
                push(OllamaServer(double.url), package)
            assert double.models == {}


def test_an_older_server_proves_its_template_by_its_answers(package: Package) -> None:
    with serving(trained, renders=False) as double:
        made = push(OllamaServer(double.url), package)
        assert made.verified is not None
        assert made.verified.template == "answers"


THINKS = """{% for m in messages %}<|im_start|>{{ m['role'] }}
{{ m['content'].split('</think>')[-1] }}<|im_end|>
{% endfor %}{% if tools %}<tools>{{ tools }}</tools>{% endif %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is false %}<think></think>{% endif %}{% endif %}"""


def test_a_server_that_takes_the_files_own_chat_template_is_proven_by_its_prompts(tmp_path: Path) -> None:
    """Where it offers more than a Go template does: tools, and thoughts, which then stand beside the answer."""
    base = shutil.copytree(DESK, tmp_path / "base")
    (base / "chat_template.jinja").write_text(THINKS)
    export_folder(base, None, "f16", tmp_path / "m.gguf")
    talk = [{"role": "user", "content": "I was charged twice."}]
    reference = Reference(
        id="p", messages=tuple(talk), rendered=render(THINKS, talk, add_generation_prompt=True), prompt_ids=(1,),
        answer="<think>\nTwice is once too many.\n</think>\n\nbilling", answer_ids=(1,) * 9, logprobs=(0.0,) * 9, stopped=True,
    )  # fmt: skip
    package = make_package(NAME, Served(model=tmp_path / "m.gguf"), references=[reference])
    assert any("before 0.30" in note for note in package.notes)
    with serving(lambda prompt, model, options: reference.answer + "<|im_end|>") as double:
        server = OllamaServer(double.url)
        made, again = push(server, package), push(server, package)
        shown = server.show(NAME)
    assert shown is not None
    assert (shown.template, made.created, again.created) == (THINKS, True, False)
    assert made.verified is not None
    assert (made.verified.template, made.verified.equal, made.verified.agreement) == ("rendered", 1, 1.0)


def test_a_server_that_keeps_other_things_than_it_was_sent_is_found_out(package: Package) -> None:
    class Forgetful(OllamaDouble):
        def _say(self, made: Any, body: dict[str, Any]) -> None:
            super()._say(made, {**body, "parameters": {}})

    with serving(trained, kind=Forgetful) as double:
        with pytest.raises(GateFailed, match="not what was sent: its parameter stop is missing"):
            push(OllamaServer(double.url), package)
        assert double.models == {}


def test_a_version_in_use_is_not_taken_away(package: Package) -> None:
    with serving() as double:
        with pytest.raises(GateFailed, match="left there because a slot in use names it"):
            push(OllamaServer(double.url), package, guarded=True)
        assert list(double.models) == [NAME]


def test_a_busy_server_is_asked_again_for_a_while(package: Package) -> None:
    waits: list[float] = []
    busy = ("/v1/chat/completions", 503, {"error": {"message": "server busy"}})
    with serving(trained) as double:
        double.faults += [busy] * 3
        assert push(OllamaServer(double.url), package, pause=waits.append).created
        assert waits == [0.25, 0.5, 1.0]
        double.faults += [busy] * 100
        with pytest.raises(UpstreamUnavailable, match="server busy"):
            push(OllamaServer(double.url), package, patience=5.0, pause=waits.append)
        assert list(double.models) == [NAME]


def test_a_full_disk_there_is_named_and_leaves_nothing(package: Package) -> None:
    with serving(trained, room=1000) as double:
        with pytest.raises(DiskFull):
            push(OllamaServer(double.url), package)
        assert (double.models, list(double.folder.iterdir())) == ({}, [])


def test_a_plan_changes_nothing(package: Package) -> None:
    with serving(trained) as double:
        server = OllamaServer(double.url)
        told = plan(server, package)
        assert (told.created, told.sent, told.verified) == (True, (package.digest,), None)
        assert (double.models, list(double.folder.iterdir())) == ({}, [])
        push(server, package)
        told = plan(server, package)
        assert (told.created, told.sent) == (False, ())


def test_without_a_transcript_the_template_is_proven_and_answers_are_not(package: Package) -> None:
    with serving() as double:
        made = push(OllamaServer(double.url), dataclasses.replace(package, references=()))
        assert made.verified is not None
        assert (made.verified.template, made.verified.prompts, made.verified.agreement) == ("rendered", 0, None)


def by_llama_cpp(clients: list[ChatClient]) -> Callable[[str, Stored, dict[str, Any]], str]:
    """Real answers to the double's prompts."""
    return lambda prompt, model, options: clients[0].complete(prompt, max_tokens=int(options["num_predict"])).text


@pytest.mark.real
@pytest.mark.parametrize("apart", [False, True], ids=["merged", "adapter-apart"])
def test_what_was_trained_answers_behind_the_double_as_in_training(made: Path, tmp_path: Path, apart: bool) -> None:
    references, model, lora = read_transcript(made / "desk" / "transcript.jsonl"), tmp_path / "m.gguf", None
    if apart:
        lora = tmp_path / "a.gguf"
        export_folder(DESK, made / "desk" / "adapter", "f16", lora, adapter_only=True)
        export_folder(DESK, None, "f16", model)
    else:
        export_folder(DESK, made / "desk" / "adapter", "Q5_K_M", model)
    package = make_package(NAME, Served(model=model, lora=lora), references=references)
    clients: list[ChatClient] = []
    with serving(by_llama_cpp(clients)) as double:
        with running(model, lora) as client:
            clients.append(client)
            seen = push(OllamaServer(double.url), package).verified
        assert seen is not None
        assert (seen.template, seen.prompts, seen.agreement) == ("rendered", len(references), 1.0)
        assert double.models[NAME].adapters == ((package.lora_digest,) if apart else ())


def test_answers_are_compared_from_their_beginning() -> None:
    assert [agreeing("abcd", "abcd"), agreeing("abXd", "abcd"), agreeing("", "abcd"), agreeing("abcdef", "abc")] == [
        1.0,
        0.5,
        0,
        0.5,
    ]
    assert agreeing("", "") == 1.0


def test_memory_is_looked_at_before_it_is_loaded_and_only_where_it_is_ours(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunekeeper.deployment.memory.available", lambda: 1 << 20)
    with serving(trained) as double:
        server = OllamaServer(double.url)
        assert any("it may not fit" in note for note in plan(server, package).notes)
        assert any("it may not fit" in note for note in push(server, package).notes)
        assert not any("it may not fit" in note for note in push(server, package).notes)
