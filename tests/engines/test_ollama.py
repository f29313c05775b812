from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.deployment.ollama import make_file
from tunekeeper.core.errors import ArtifactError, ConfigError, DiskFull, UpstreamUnavailable, UserError
from tunekeeper.core.ids import digest_file
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import ENGINES, ChatClient, healthy
from tunekeeper.engines.client import call_json
from tunekeeper.engines.ollama import Ollama, OllamaServer, check_name, default_endpoint, shown
from tunekeeper.testing.contracts import check_engine
from tunekeeper.testing.ollama import serving

GO = "{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ end }}"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("gguf") / "m.gguf")


@pytest.mark.parametrize(("version", "same"), [("0.12.11", True), ("0.32.15", False)])
def test_a_model_is_sent_made_shown_asked_and_deleted(file: Path, version: str, same: bool) -> None:
    """From 0.30 on a server keeps a copy of the file, whose digest is another, and shows the fields of that."""
    digest = digest_file(file)
    with serving(version=version) as double:
        server, told = OllamaServer(double.url), []
        sizes: list[int] = []
        assert server.send_blob(file, digest, sizes.append) is True
        assert (sizes[-1], server.send_blob(file, digest)) == (file.stat().st_size, False)
        parameters = {"stop": ["<|im_end|>", ' "x"\n\\', "größe"], "temperature": 0.7, "num_ctx": 512}
        server.create(
            {"model": "desk:v1.0", "files": {"m.gguf": digest}, "template": GO, "system": "Be\nbrief.", "parameters": parameters},
            told.append,
        )
        assert told[0] == "parsing GGUF"
        assert told[-1] == "success"
        seen = server.show("desk:v1.0")
        assert seen is not None
        assert (seen.model == digest, seen.adapters, seen.template, seen.system) == (same, (), GO, "Be\nbrief.")
        assert seen.info["tunekeeper.base_digest"].startswith("sha256:")
        wanted = {"stop": ("<|im_end|>", ' "x"\n\\', "größe"), "temperature": ("0.7",), "num_ctx": ("512",)}
        assert seen.parameters == wanted
        server.load("desk:v1.0")
        assert server.names() == server.loaded() == ("desk:v1.0",)
        assert server.rendered("desk:v1.0", [{"role": "user", "content": "Hi"}]) == "[system]Be\nbrief.[user]Hi"
        assert server.complete("desk:v1.0", "four", 32) == "desk:v1.0 read 4 characters"
        assert (
            ChatClient(double.url, "desk:v1.0").chat([{"role": "user", "content": "Hi"}], max_tokens=2).text == "desk:v1.0 read"
        )
        server.copy("desk:v1.0", "desk:v1.1")
        server.unload("desk:v1.0")
        assert server.loaded() == ()
        assert [server.delete("desk:v1.0"), server.delete("desk:v1.0")] == [True, False]
        assert (server.show("desk:v1.0"), server.names()) == (None, ("desk:v1.1",))


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (("/api/show", 503, {"error": "server busy"}), UpstreamUnavailable, "is busy"),
        (("/api/show", 500, {"error": "write /x: no space left on device"}), DiskFull, "no space left"),
        (("/api/show", 401, {"error": "unauthorized"}), UpstreamUnavailable, "unauthorized"),
        (("/api/show", 400, {"error": {"message": "bad\n name"}}), ArtifactError, "refused: show desk:v1: bad name"),
        (("/api/show", 200, ["no"]), UpstreamUnavailable, "no Ollama stands there"),
        (("/api/show", 200, {"error": "late"}), UpstreamUnavailable, "late"),
        (("/api/show", 0, None), UpstreamUnavailable, "no Ollama answers"),
    ],
)
def test_what_a_server_refuses_is_one_line(fault, kind: type[Exception], said: str) -> None:
    with serving() as double:
        double.faults.append(fault)
        with pytest.raises(kind, match=said) as error:
            OllamaServer(double.url).show("desk:v1")
    assert "\n" not in str(error.value)


def test_an_error_after_the_first_line_of_a_create_is_an_error(file: Path) -> None:
    with serving() as double:
        server = OllamaServer(double.url)
        with pytest.raises(ArtifactError, match="reaches no registry"):
            server.create({"model": "desk:v1", "from": "llama3"})
        with pytest.raises(ArtifactError, match="no such file"):
            server.create({"model": "desk:v1", "files": {"m.gguf": "sha256:" + "0" * 64}})
        double.faults.append(("/api/create", 200, {"status": "writing manifest"}))
        with pytest.raises(UpstreamUnavailable, match="without success"):
            server.create({"model": "desk:v1"})
        assert server.names() == ()


def test_a_file_that_changed_and_a_full_disk_are_named(file: Path, tmp_path: Path) -> None:
    wrong = "sha256:" + hashlib.sha256(b"other").hexdigest()
    with serving(room=1 << 20) as double:
        server = OllamaServer(double.url)
        with pytest.raises(DiskFull, match="keeps its models"):
            server.send_blob(file, digest_file(file))
        small = tmp_path / "small.gguf"
        small.write_bytes(b"GGUF")
        with pytest.raises(ArtifactError, match="digest mismatch"):
            server.send_blob(small, wrong)


def test_a_server_that_is_away_or_too_old_is_named() -> None:
    with serving(version="0.4.7") as double:
        with pytest.raises(UpstreamUnavailable, match=r"Ollama 0.4.7 .* is too old: 0.5.5"):
            OllamaServer(double.url).check()
        url = double.url
    with pytest.raises(UpstreamUnavailable, match="ollama serve"):
        OllamaServer(url).check()
    for version, known in (("0.12.11", "0.12.11"), ("0.0.0", "0.0.0"), (None, None)):
        with serving(version=version) as double:
            assert OllamaServer(double.url).check() == known


def test_the_engine_keeps_its_contract_against_the_double(file: Path, tmp_path: Path) -> None:
    with serving() as double:
        server = OllamaServer(double.url)
        server.send_blob(file, digest_file(file))
        server.create({"model": "desk:v1", "files": {"m.gguf": digest_file(file)}, "template": GO})
        slot = Slot(id="desk-blue", model="desk", engine="ollama", endpoint=double.url + "/v1", upstream_model="desk:v1")
        check_engine(Ollama, tmp_path, slot=slot)
        fields = Ollama().request_fields(slot)
        found = ENGINES.load("ollama")().probe(slot.endpoint)
        assert (found.models, found.logprobs, found.adapters) == (("desk:v1",), True, False)
        assert healthy(double.url, engine="ollama")
        server.create({"model": "model-a", "files": {"m.gguf": digest_file(file)}, "template": GO})
        pages = {path: call_json("GET", double.url + path) for path in ("/api/tags", "/api/version", "/v1/models")}
        check_engine(Ollama, tmp_path, slot=slot, pages=pages)
        said = ChatClient(double.url, str(fields.pop("model"))).chat([{"role": "user", "content": "Hi"}], max_tokens=9, **fields)
        assert said.finish_reason == "stop"
    with serving(version="0.9.0") as double:
        assert Ollama().probe(double.url).logprobs is False


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("gpu:1234", "http://gpu:1234"),
        ("http://gpu", "http://gpu:80"),
        ("https://gpu/", "https://gpu:443"),
        ("[::1]:99", "http://[::1]:99"),
    ],
)
def test_ollama_host_is_read_as_the_ollama_command_reads_it(host: str, address: str) -> None:
    assert default_endpoint({"OLLAMA_HOST": host}) == address


def test_an_ollama_host_that_is_no_address_is_named() -> None:
    with pytest.raises(ConfigError, match="OLLAMA_HOST"):
        default_endpoint({"OLLAMA_HOST": "gpu:port"})


@pytest.mark.parametrize("name", ["desk", "desk:latest", "a b:c", "desk:" + "x" * 81, ":v1", "a/b/c/d:v1", "desk:v1\n"])
def test_a_name_that_is_no_version_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"support-desk:v1\.0"):
        check_name(name)
    assert check_name("team/support-desk:v1.2-2026-01-15-1247examples")


def test_a_server_without_a_way_to_show_its_prompts_says_nothing_of_them(file: Path) -> None:
    with serving() as double:
        server = OllamaServer(double.url)
        for status in (400, 404, 405):
            double.faults.append(("/api/chat", status, {"error": "no such path"}))
            assert server.rendered("desk:v1", []) is None
        double.faults.append(("/api/chat", 503, {"error": "server busy"}))
        with pytest.raises(UpstreamUnavailable, match="is busy"):
            server.rendered("desk:v1", [])


def test_a_server_that_shows_little_is_read() -> None:
    assert shown({"parameters": 'stop   User: \nstop "a b"\ntop_p  0.9'}).parameters == {
        "stop": ("User:", "a b"),
        "top_p": ("0.9",),
    }
    seen = shown({})
    assert (seen.model, seen.adapters, seen.template, seen.parameters) == (None, (), "", {})
    digest = "ab" * 32
    seen = shown({"modelfile": f"# FROM x\nFROM /m/sha256-{digest}\nADAPTER C:\\blobs\\sha256-{digest}\n", "system": None})
    assert (seen.model, seen.adapters) == (f"sha256:{digest}", (f"sha256:{digest}",))


REAL = "TEST_OLLAMA_ENDPOINT"


@pytest.mark.real
@pytest.mark.skipif(REAL not in os.environ, reason=f"no real Ollama: set {REAL} to the address of one")
def test_a_real_ollama_takes_shows_and_answers_as_the_double_does(file: Path) -> None:
    server, name, digest = OllamaServer(os.environ[REAL]), "tunekeeper-check:v1", digest_file(file)
    server.check()
    server.send_blob(file, digest)
    try:
        template = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
        server.create(
            {
                "model": name,
                "files": {"m.gguf": digest},
                "template": template,
                "parameters": {"stop": ["<|im_end|>"], "num_ctx": 512},
            }
        )
        seen = server.show(name)
        assert seen is not None
        assert (seen.template, seen.parameters) == (template, {"stop": ("<|im_end|>",), "num_ctx": ("512",)})
        server.load(name)
        assert name in server.loaded()
        assert ChatClient(server.base, name).chat([{"role": "user", "content": "Hi"}], max_tokens=4).finish_reason
    finally:
        server.delete(name)
