from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter, make_other_base
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.adapter import folder_digest
from tunekeeper.deployment.vllmadapter import (
    adapter_name,
    check_adapter,
    check_served,
    named_there,
    read_base,
)
from tunekeeper.engines.vllm import Holding
from tunekeeper.workspace import create_workspace


def served(root: Path | str) -> Holding:
    return Holding(base="base", root=str(root))


def test_an_adapter_of_this_base_is_taken_and_what_vllm_cannot_put_on_is_refused(tmp_path: Path) -> None:
    base = read_base(BASE)
    check_adapter(make_adapter(tmp_path / "plain"), base)
    check_adapter(make_adapter(tmp_path / "own", base=base.weights), base)
    for name, config in (
        ("dora", {"use_dora": True}), ("saved", {"modules_to_save": ["norm"]}), ("uneven", {"alpha_pattern": {"q_proj": 32}})
    ):  # fmt: skip
        with pytest.raises(ArtifactError, match=r"nothing that vLLM puts on at run time .*deployment.merged: true"):
            check_adapter(make_adapter(tmp_path / name, **config), base)


def test_an_adapter_whose_own_files_name_another_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="the adapter was trained on base sha256:another"):
        check_adapter(make_adapter(tmp_path / "a", base="sha256:another"), read_base(BASE))


def test_a_server_s_base_is_known_by_its_files_where_they_can_be_seen(tmp_path: Path) -> None:
    base = read_base(BASE)
    assert check_served("http://x", served(BASE), base) is True
    copy = Path(shutil.copytree(BASE, tmp_path / "copy"))
    assert check_served("http://x", served(copy), base) is True
    assert check_served("http://x", served("org/name-of-a-model"), base) is False
    assert check_served("http://x", served(tmp_path / "gone"), base) is False
    with pytest.raises(ArtifactError, match=r"vLLM at http://x serves another base: .*start it with"):
        check_served("http://x", served(make_other_base(tmp_path / "other")), base)


def test_another_tokenizer_or_chat_template_is_another_base(tmp_path: Path) -> None:
    base = read_base(BASE)
    copy = Path(shutil.copytree(BASE, tmp_path / "copy"))
    (copy / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(ArtifactError, match="serves another chat template"):
        check_served("http://x", served(copy), base)
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    (copy / "tokenizer.json").write_text(json.dumps({**tokenizer, "normalizer": None}))
    with pytest.raises(ArtifactError, match="serves another tokenizer"):
        check_served("http://x", served(copy), base)


def test_a_base_that_changed_since_training_is_named() -> None:
    known = read_base(BASE)
    assert read_base(BASE, weights=known.weights, tokenizer=known.tokenizer, template=known.template) == known
    for field in ("weights", "tokenizer", "template"):
        with pytest.raises(ArtifactError, match="changed since this version was trained"):
            read_base(BASE, **{field: "sha256:" + "0" * 64})


def test_a_name_is_bound_to_the_content_as_the_store_knows_it(tmp_path: Path) -> None:
    one, two = make_adapter(tmp_path / "one", 1), make_adapter(tmp_path / "two", 2)
    again = make_adapter(tmp_path / "again", 1)
    assert folder_digest(one) == folder_digest(again) != folder_digest(two)
    assert create_workspace(tmp_path / "data").blobs.put_folder(one) == folder_digest(one)
    name = adapter_name("desk:v1.0-x", folder_digest(one))
    assert name.startswith("desk:v1.0-x-")
    assert len(name) == len("desk:v1.0-x-") + 8
    assert adapter_name("desk:v1.0-x", folder_digest(two)) != name


def test_a_shared_folder_may_have_another_name_on_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "shared" / "abc"
    assert named_there(folder, tmp_path / "shared", None) == str(folder)
    assert named_there(folder, tmp_path / "shared", "/mnt/adapters") == "/mnt/adapters/abc"
