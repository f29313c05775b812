from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import make_file
from tests.deployment.test_compare import copied
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.ollamapackage import Package, make_package
from tunekeeper.deployment.ollamashown import differences
from tunekeeper.deployment.weights import Served
from tunekeeper.engines.ollama import OllamaServer, Shown
from tunekeeper.testing.ollama import serving

NAME = "support-desk:v1.2-2026-01-15-1247examples"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(NAME, Served(model=make_file(tmp_path_factory.mktemp("gguf") / "m.gguf")))


def seen(package: Package, **more: Any) -> Shown:
    """What a server would show of a package."""
    values = {name: tuple(map(str, v)) if isinstance(v, list) else (str(v),) for name, v in package.parameters.items()}
    known = {"model": package.digest, "adapters": (), "system": package.system or "", "parameters": values}
    return Shown(**{"template": package.template, **known, **more})


def kept(package: Package, **more: Any) -> Shown:
    """What a server of today shows that keeps a copy of `package`."""
    with serving(version="0.32.15") as double:
        server = OllamaServer(double.url)
        server.send_blob(package.model, package.digest)
        server.create(package.body())
        found = server.show(package.name)
    assert found is not None
    return dataclasses.replace(found, **more)


def test_a_file_kept_without_its_last_padding_is_the_same(package: Package) -> None:
    header = read_gguf(package.model)
    end = header.data + max(tensor.start + tensor.bytes for tensor in header.tensors)
    cut = "sha256:" + hashlib.sha256(package.model.read_bytes()[:end]).hexdigest()
    assert differences(seen(package, model=cut), package) == []
    other = seen(package, model="sha256:" + "0" * 64, adapters=("sha256:1",), system="S", parameters={})
    assert len(differences(other, package)) == 3 + len(package.parameters)


def test_a_copy_that_the_server_wrote_anew_is_known_by_the_fields_of_its_file(package: Package) -> None:
    shown = kept(package)
    assert shown.model != package.digest
    assert differences(shown, package) == []
    assert "its weights are" in differences(dataclasses.replace(shown, info={}), package)[0]
    for key in ("tunekeeper.base_digest", "general.file_type", "qwen2.block_count"):
        changed = {**shown.info, key: "sha256:9" if key.startswith("t") else 99}
        assert "its weights are" in differences(dataclasses.replace(shown, info=changed), package)[0]
        del changed[key]
        assert "its weights are" in differences(dataclasses.replace(shown, info=changed), package)[0]
    merged = dataclasses.replace(shown, info={**shown.info, "tunekeeper.adapter_digest": "sha256:9"})
    assert "its weights are" in differences(merged, package)[0]


def test_a_file_from_elsewhere_is_known_only_while_it_is_made(package: Package, tmp_path: Path) -> None:
    """Nothing in it tells one fine-tuned model from another of the same base."""
    header = read_gguf(package.model)
    plain = {key: value for key, value in header.pairs.items() if not key.startswith("tunekeeper.")}
    other = copied(package.model, tmp_path / "m.gguf", lambda name, value: value, without="tunekeeper.base_digest")
    foreign = dataclasses.replace(package, model=other, digest="sha256:" + "3" * 64)
    shown = seen(foreign, model="sha256:" + "4" * 64, info=plain)
    assert differences(shown, foreign, made=True) == []
    assert "its weights are" in differences(shown, foreign)[0]


def test_the_files_own_chat_template_is_as_good_as_the_one_sent(package: Package) -> None:
    assert package.dialect is not None
    assert differences(seen(package, template=package.dialect.template), package) == []
    assert "its template is" in differences(seen(package, template="{{ .Prompt }}"), package)[0]
