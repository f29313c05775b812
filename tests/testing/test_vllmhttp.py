from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter
from tunekeeper.engines.client import call, call_json
from tunekeeper.testing.vllm import VllmDouble, serving

ASK = {"messages": [{"role": "user", "content": "Größe? 你好"}], "max_tokens": 24, "temperature": 0}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "desk")


def events(double: VllmDouble, path: str, body: dict[str, object]) -> list[dict[str, object]]:
    status, data = call("POST", double.url + path, {**body, "stream": True})
    lines = [line.removeprefix("data: ") for line in data.decode().splitlines() if line]
    assert (status, lines[-1]) == (200, "[DONE]")
    return [json.loads(line) for line in lines[:-1]]


def test_a_stream_adds_up_to_the_whole_answer() -> None:
    with serving(BASE, name="base") as double:
        whole = call_json("POST", double.url + "/v1/chat/completions", {"model": "base", **ASK})
        parts = events(double, "/v1/chat/completions", {"model": "base", **ASK, "stream_options": {"include_usage": True}})
        text = "".join(part["choices"][0]["delta"]["content"] for part in parts if part["choices"])
        assert text == whole["choices"][0]["message"]["content"]
        assert parts[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
        plain = {"model": "base", "prompt": "hello", "max_tokens": 9, "temperature": 0}
        whole = call_json("POST", double.url + "/v1/completions", plain)
        assert (
            "".join(part["choices"][0]["text"] for part in events(double, "/v1/completions", plain))
            == whole["choices"][0]["text"]
        )


def test_its_log_probabilities_of_an_answer_are_those_that_it_gives_of_the_same_text_as_a_prompt() -> None:
    with serving(BASE) as double:
        asked = {"logprobs": True, "top_logprobs": 1, **ASK}
        said = call_json("POST", double.url + "/v1/chat/completions", asked)["choices"][0]["logprobs"]["content"]
        prompt = double.prompt(ASK["messages"])
        ids = list(double.mind(None).say(prompt, 24, {}).ids)
        body = {"prompt": [*prompt, *ids], "max_tokens": 1, "prompt_logprobs": 0}
        seen = call_json("POST", double.url + "/v1/completions", body)["choices"][0]["prompt_logprobs"]
        assert seen[0] is None
        assert [next(iter(each.values()))["logprob"] for each in seen[len(prompt) :]] == [each["logprob"] for each in said]


def test_a_penalty_by_default_changes_greedy_answers_unless_a_request_takes_it_away() -> None:
    def answer(double: VllmDouble, **settings: object) -> str:
        body = {**ASK, "max_tokens": 200, **settings}
        return str(call_json("POST", double.url + "/v1/chat/completions", body)["choices"][0]["message"]["content"])

    with serving(BASE) as plain, serving(BASE, repetition=1.5) as other:
        assert answer(other) != answer(plain) == answer(other, repetition_penalty=1.0)


def test_only_the_versioned_paths_ask_for_the_key(adapter: Path) -> None:
    with serving(BASE, api_key="sesame") as double:
        assert call("GET", double.url + "/v1/models")[0] == 401
        assert call("GET", double.url + "/v1/models", api_key="sesame")[0] == 200
        assert call("GET", double.url + "/health")[0] == 200
        assert call("POST", double.url + "/tokenize", {"prompt": "hello"})[0] == 200


def test_the_adapter_routes_are_not_there_unless_they_were_asked_for(adapter: Path) -> None:
    body = {"lora_name": "desk", "lora_path": str(adapter)}
    with serving(BASE, updating=False) as double:
        assert call("POST", double.url + "/v1/load_lora_adapter", body) == (404, b'{"detail": "Not Found"}')
        assert call("GET", double.url + "/v1/load_lora_adapter")[0] == 404
    with serving(BASE) as double:
        assert call("GET", double.url + "/v1/load_lora_adapter")[0] == 405
        assert call("POST", double.url + "/v1/load_lora_adapter", {**body, "lora_path": "no/such"})[0] == 404
        assert call("POST", double.url + "/v1/load_lora_adapter", body)[0] == 200
        assert call("POST", double.url + "/v1/load_lora_adapter", {**body, "load_inplace": True})[0] == 200
        assert call("POST", double.url + "/v1/unload_lora_adapter", {"lora_name": ""})[0] == 400


def test_what_is_scripted_happens_once() -> None:
    with serving(BASE) as double:
        double.faults += [("/v1/models", 503, {"error": {"message": "busy"}}), ("/health", 0, None)]
        assert [call("GET", double.url + "/v1/models")[0] for _ in range(2)] == [503, 200]
        connection = http.client.HTTPConnection("127.0.0.1", double.server_port, timeout=60)
        connection.request("GET", "/health")
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
        connection.close()


def test_what_is_no_json_is_refused_where_it_goes_wrong() -> None:
    with serving(BASE) as double:
        connection = http.client.HTTPConnection("127.0.0.1", double.server_port, timeout=60)
        connection.request("POST", "/v1/load_lora_adapter", b"{no")
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
        connection.close()
        assert (response.status, error["param"]) == (400, "body.1")
        assert error["message"].startswith("1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.1'")
