from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import CHATML, edit_json
from tests.deployment.conftest import serving
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.compare import Subject, measure_all
from tunekeeper.deployment.gguf import write_model
from tunekeeper.deployment.tokens import CONTROL, NORMAL, UNUSED, pre_tokenizer, tokens_of
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.weights import Served
from tunekeeper.text.tokenizers import read_tokenizer

Copy = Callable[[str], Path]


def changed(copy: Copy, change: Callable[[dict[str, Any]], None], name: str = "qwen3-head/base") -> Path:
    """A base whose tokenizer.json was changed."""
    folder = copy(name)
    value = json.loads((folder / "tokenizer.json").read_text())
    change(value)
    (folder / "tokenizer.json").write_text(json.dumps(value))
    return folder


def split(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["pre_tokenizer"]["pretokenizers"][0]
    return found


def test_the_name_of_the_pre_tokenizer_comes_from_its_expression(made: Path) -> None:
    assert pre_tokenizer(read_tokenizer(made / "qwen2-dora" / "base")) == "qwen2"
    assert pre_tokenizer(read_tokenizer(made / "llama" / "base")) == "dbrx"
    assert pre_tokenizer(read_tokenizer(made / "phi4-mini" / "base")) == "granite-embed-multi-97m"
    assert pre_tokenizer(read_tokenizer(made / "mistral-nemo" / "base")) == "tekken"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: split(v)["pattern"].update(Regex=r"\w+"), "unknown pre-tokenizer"),
        (lambda v: split(v).update(behavior="Removed"), "unknown pre-tokenizer"),
        (lambda v: split(v).update(invert=True), "unknown pre-tokenizer"),
        (lambda v: v.update(pre_tokenizer={"type": "Whitespace"}), "not byte-level"),
        (lambda v: v.update(pre_tokenizer=None), "not byte-level"),
        (lambda v: v["model"].update(type="Unigram"), "Unigram"),
        (lambda v: v["model"].update(byte_fallback=True), "without a token for each of the 256 bytes"),
        (lambda v: v["model"].update(type="WordPiece"), "WordPiece"),
        (lambda v: v["model"].update(dropout=0.1), "dropout"),
        (lambda v: v.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda v: v["added_tokens"][1].update(lstrip=True), "lstrip"),
        (lambda v: v["added_tokens"][1].update(id=9999), "do not belong together"),
        (lambda v: v["added_tokens"][1].update(id=2), "is both"),
        (
            lambda v: v["added_tokens"].append(v["added_tokens"][1] | {"id": 425, "content": "<|tool|>"}),
            "gets 419 once it is loaded",
        ),
        (lambda v: v["model"].update(merges=[["a", "zzz"]]), "`zzz` out of vocabulary"),
        (lambda v: v["model"].update(merges=[5]), r"tokenizer\.json: "),
        (lambda v: v.update(post_processor={"type": "BertProcessing"}), "BertProcessing"),
        (
            lambda v: v.update(
                post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {}}]}
            ),
            "only bos before",
        ),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_run_differently_is_refused(copy: Copy, change: Any, why: str) -> None:
    folder = changed(copy, change)

    with pytest.raises(ArtifactError, match=why):
        tokens_of(read_tokenizer(folder), 428, (2,))


def test_a_word_is_looked_up_where_the_tokenizer_does_so(copy: Copy) -> None:
    folder = changed(copy, lambda value: value["model"].update(ignore_merges=True), "llama/base")
    assert pre_tokenizer(read_tokenizer(folder)) == "llama-bpe"


PLAIN = (
    "Hello world", "I'll DON'T they're O'Reilly D'Souza o'tgan l'eau", "1 12 123 1234 3.14159 ٣٤٥ ①②③ Ⅷ ½", "école ÉÀ Größe",
    "camelCase HTTPServer McDonald's snake_case", "ПриветМир наДом ПРИВЕТ Σσς", "你好，世界！ こんにちは", "안녕하세요 세계",
    "مرحبا بالعالم", "👍 👍🏽 👨\u200d👩\u200d👧 🇩🇪", "a  b   c\n\n  d \n \te\r\n\r\n", "x = 'text' // f('a')/\n/\n{}[]!?...",
    "  lead trail  ", "<s> [INST] <|im_start|>user\nHi<|im_end|>", "https://example.org/a?b=%20#c", "▁a Ġb ﬁ ǅ ʰ ª",
    "nbsp\u00a0em\u2003zero\u200bwidth",
)  # fmt: skip
MIXED, MARKS = "ÉCOLE AÑO", "हिन्दी नमस्ते"


@pytest.mark.real
@pytest.mark.parametrize(("name", "differ"), [("mistral-nemo", {MIXED, MARKS}), ("phi4-mini", {MIXED})])
def test_all_texts_but_those_that_the_notes_name_become_the_token_ids_of_training(
    made: Path, tmp_path: Path, name: str, differ: set[str]
) -> None:
    checkpoint = open_checkpoint(made / name / "base")
    files = read_tokenizer(checkpoint.folder)
    written = write_model(checkpoint, None, tmp_path / "m.gguf", "f16", name=name)

    with serving(tmp_path / "m.gguf") as client:
        asked = {text: client.post("/tokenize", {"content": text, "parse_special": True}) for text in (*PLAIN, MIXED, MARKS)}
    assert {text for text, answer in asked.items() if answer["tokens"] != files.encode(text)} == differ
    assert ["GRÖSSE" in note or "combining marks" in note for note in written.notes].count(True) == len(differ)


def test_an_ordinary_token_that_looks_like_an_end_gets_another_name_unless_text_becomes_it(copy: Copy) -> None:
    folder = changed(copy, lambda value: value["model"]["vocab"].update({"</s>": 421, "<EOT>": 422}))
    tokens = tokens_of(read_tokenizer(folder), 428, (2,))
    assert tokens.texts[421:423] == ["[never 421]", "[never 422]"]
    assert tokens.texts[2] == "<|im_end|>", "the special ones keep theirs"


def test_a_token_found_by_lookup_only_is_refused(copy: Copy) -> None:
    def change(value: dict[str, Any]) -> None:
        value["model"]["ignore_merges"] = True
        value["model"]["vocab"]["zzzz"] = 421

    with pytest.raises(ArtifactError, match="'zzzz' is found by merging in one"):
        tokens_of(read_tokenizer(changed(copy, change)), 428, (2,))


def test_types_padding_ends_and_template_reach_the_file(made: Path) -> None:
    files = read_tokenizer(made / "qwen2-dora" / "base")

    tokens = tokens_of(files, 430, (2, 0))

    assert len(tokens.texts) == len(tokens.types) == 430
    assert tokens.texts[429] == "[PAD429]"
    assert (tokens.types[1], tokens.types[100], tokens.types[429]) == (CONTROL, NORMAL, UNUSED)
    assert tokens.special == {"eos": 2, "pad": 0, "eot": 0}
    assert (tokens.add_bos, tokens.add_eos) == (False, False)
    assert tokens.template == files.template
    assert "NFC" in tokens.notes[0]


def test_a_token_that_only_the_settings_name_reaches_the_file_where_the_model_has_a_row_for_it(copy: Copy) -> None:
    folder = copy("qwen2-dora/base")
    edit_json(folder / "tokenizer_config.json", pad_token="<pad>", extra_special_tokens=["<|im_start|>", "<|tool|>"])
    files = read_tokenizer(folder)
    pad, tool = (files.vocabulary[text] for text in ("<pad>", "<|tool|>"))

    both, one, none = (tokens_of(files, rows, (2, -1, 2**70)) for rows in (tool + 1, tool, pad))

    assert (both.texts[pad:], both.types[pad:], both.special) == (["<pad>", "<|tool|>"], [CONTROL] * 2, {"eos": 2, "pad": pad})
    assert (one.texts[pad:], one.special) == (["<pad>"], both.special)
    assert (len(none.texts), none.special) == (pad, {"eos": 2})


def test_ends_for_which_there_is_no_name_are_told_and_those_that_llama_cpp_knows_by_text_take_none(made: Path) -> None:
    files = read_tokenizer(made / "qwen2-dora" / "base")

    tokens = tokens_of(files, 430, (2, 0, 1, 5, 6))

    assert (tokens.special["eot"], tokens.special["eom"]) == (1, 5)
    assert tokens.notes[-1].startswith(f"answers end at {tokens.texts[6]!r} too")
    assert tokens_of(files, 430, (2, 0, 1, 5)).notes == tokens.notes[:-1]


@pytest.mark.parametrize(("normalizers", "said"), [([], 0), ([{"type": "NFC"}], 1)])
def test_a_sequence_of_normalizers_is_its_members(copy: Copy, normalizers: list[dict[str, str]], said: int) -> None:
    folder = copy("llama/base")
    edit_json(folder / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": normalizers})

    assert len(tokens_of(read_tokenizer(folder), 430, (2,)).notes) == said


def test_a_tokenizer_that_begins_with_bos_says_so(copy: Copy) -> None:
    folder = beginning(copy)
    (folder / "chat_template.jinja").write_text("{{ bos_token }}" + CHATML)
    assert tokens_of(read_tokenizer(folder), 428, (2,)).add_bos

    edit_json(folder / "tokenizer_config.json", add_bos_token=False)
    with pytest.raises(ArtifactError, match="contradict"):
        tokens_of(read_tokenizer(folder), 428, (2,))


def beginning(copy: Copy) -> Path:
    """A base whose tokenizer puts <|endoftext|> before every text."""
    begin = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    single, known = (
        [begin, {"Sequence": {"id": "A", "type_id": 0}}],
        {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]},
    )
    put = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": {"<|endoftext|>": known}}
    folder = changed(copy, lambda v: v.update(post_processor=put))
    edit_json(folder / "tokenizer_config.json", bos_token="<|endoftext|>")
    return folder


@pytest.mark.real
def test_chats_that_began_without_bos_in_training_do_so_in_the_server(copy: Copy, made: Path, tmp_path: Path) -> None:
    """As of Zephyr and TinyLlama: the tokenizer adds a token to every text, the chat template writes none."""
    folder = beginning(copy)
    tokens = tokens_of(read_tokenizer(folder), 428, (2,))
    assert not tokens.add_bos
    assert tokens.notes[-1].startswith("training's chats begin without <|endoftext|>")

    write_model(open_checkpoint(folder), None, tmp_path / "m.gguf", "f16", name="m")
    references = read_transcript(made / "qwen2-dora" / "transcript.jsonl")
    found = measure_all(Subject(served=Served(model=tmp_path / "m.gguf")), open_checkpoint(folder), None, references)

    assert (found.template.differ, found.tokenizer.differ) == (0, 0)


@pytest.mark.real
def test_requests_with_tools_have_the_template_for_tools_in_the_server(copy: Copy, tmp_path: Path) -> None:
    folder = copy("qwen2-dora/base")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("with tools: " + CHATML)
    write_model(open_checkpoint(folder), None, tmp_path / "m.gguf", "f16", name="m")
    said = {"messages": [{"role": "user", "content": "Hi"}]}
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}]

    with serving(tmp_path / "m.gguf") as client:
        plain, with_tools = (client.post("/apply-template", said | more)["prompt"] for more in ({}, {"tools": tools}))

    assert with_tools == "with tools: " + plain
