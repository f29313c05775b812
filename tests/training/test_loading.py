"""How a checkpoint is loaded: the number format, and an adapter that is there before the first step without changing anything."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError, ConfigError
from tunekeeper.training import loading, previewing
from tunekeeper.training.base import read_base
from tunekeeper.training.recipe import from_json

from .conftest import BASE


@pytest.mark.real
# peft asks transformers under a name that transformers is about to drop.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_seed_alone_says_how_an_adapter_starts() -> None:
    def start(seed: int) -> list[float]:
        model, _ = loading.load(read_base(BASE), from_json({"rank": 2, "seed": seed, "dtype": "float32"}), None)
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        assert 0 < sum(each.numel() for each in learned) < 100_000
        return [float(each.detach().abs().sum()) for each in learned]

    first = start(1)
    assert first == start(1)
    assert first != start(2)
    assert 0.0 in first  # the half that keeps the answers as they were


HOLES = """
import sys
from pathlib import Path
from tunekeeper.training.loading import prepare_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "thrifty":
    prepare_memory()
bytearray(24 << 20)  # let go of, and glibc takes what is smaller from its heap from here on
began, large, small = resident(), [], []
for _ in range(4):
    large.append(bytearray(b"1") * (12 << 20))
    small.append(bytearray(100_000))
del large
print(resident() - began)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries give back what they do")
def test_where_memory_counts_what_a_tensor_took_is_given_back_at_once() -> None:
    kept = [
        int(subprocess.run([sys.executable, "-c", HOLES, way], capture_output=True, text=True, check=True).stdout)
        for way in ("thrifty", "quick")
    ]
    assert kept[0] < 4 << 20
    assert kept[1] > 40 << 20, "otherwise there is nothing to prepare for"


@pytest.mark.real
def test_a_template_without_an_end_is_stopped_before_transformers_renders_it(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    said = [{"role": "user", "content": "Hi"}]
    good = loading.codec_of(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    assert "Hi" in good.render(said, [], True)
    (folder / "chat_template.jinja").write_text(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}"
    )
    endless = loading.codec_of(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    with pytest.raises(ArtifactError, match="was stopped"):
        endless.render(said, [], True)


@pytest.mark.real
@pytest.mark.parametrize("changed", [{"model_type": "martian"}, {"hidden_size": 64}])
def test_a_base_that_transformers_cannot_load_is_said_in_one_line(tmp_path: Path, changed: dict[str, Any]) -> None:
    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(ArtifactError, match=r"transformers [0-9.]+ cannot load it: "):
        loading.load_plain(read_base(folder), from_json({"dtype": "float32"}))


@pytest.mark.real
def test_a_tokenizer_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"transformers [0-9.]+ cannot load it: "):
        loading.load_tokenizer(read_base(folder))


@pytest.mark.real
def test_a_base_that_lacks_a_tensor_is_refused_and_not_filled_up_by_chance(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(weights) if name.endswith("q_proj.weight"))
    save_file({name: each for name, each in weights.items() if name != lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match=f"its weights lack {lost}"):
        loading.load_plain(read_base(folder), from_json({"dtype": "float32"}))


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_a_base_whose_tied_output_layer_is_another_than_its_embedding_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    weights = load_file(folder / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    for factor, refused in ((1.0, False), (1.5, True)):
        both = weights | {"lm_head.weight": embedding * factor}
        save_file(both, folder / "model.safetensors", {"format": "pt"})
        if not refused:
            loading.load_plain(read_base(folder), from_json({"dtype": "float32"}))
            continue
        with pytest.raises(ArtifactError, match=r"ties the output layer to the embedding.*another lm_head\.weight"):
            loading.load_plain(read_base(folder), from_json({"dtype": "float32"}))


@pytest.mark.real
@pytest.mark.parametrize("own_files", [False, True], ids=["in the settings", "in files of their own"])
def test_rows_with_tools_have_the_template_for_tools_here_as_in_transformers(tmp_path: Path, own_files: bool) -> None:
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    template = (folder / "chat_template.jinja").read_text()
    if own_files:
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text("with tools: " + template)
    else:
        (folder / "chat_template.jinja").unlink()
        named = [{"name": "tool_use", "template": "with tools: " + template}, {"name": "default", "template": template}]
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": named}))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    said: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
    tool: dict[str, Any] = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
    for tools in ([], [tool]):
        theirs = tokenizer.apply_chat_template(said, tools=tools or None, add_generation_prompt=True, tokenize=False)
        assert theirs.startswith("with tools: ") == bool(tools)
        assert previewing.codec_of(folder).render(said, tools, True) == theirs
        assert loading.codec_of(tokenizer).render(said, tools, True) == theirs


@pytest.mark.real
def test_the_arguments_of_a_call_are_rendered_as_servers_do(tmp_path: Path) -> None:
    """OpenAI's rows have them as a text of JSON, which a template would quote once more; vLLM and llama.cpp make it an object."""
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}"
        "{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
    )
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}
    said: list[dict[str, Any]] = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    for codec in (previewing.codec_of(folder), loading.codec_of(AutoTokenizer.from_pretrained(folder, local_files_only=True))):
        assert codec.render(said, [], False) == '{"q": "x"}'


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_that_a_base_cannot_have_is_refused_in_one_line() -> None:
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    few = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = Qwen3MoeConfig(
        **few, num_key_value_heads=1, head_dim=8, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8
    )
    with pytest.raises(ConfigError, match=r"this base takes no such adapter: .*dora") as caught:
        loading.adapted(AutoModelForCausalLM.from_config(config), from_json({"dora": True}))
    assert "dora" in (caught.value.fix or "")
