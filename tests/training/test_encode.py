"""Masking: the loss counts the assistant's answers and their ends, nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.text.rendering import render
from tunekeeper.training.encode import MANY, Codec, Encoded, conversations, encode, segments
from tunekeeper.training.previewing import codec_of
from tunekeeper.training.rows import Row, one_each

BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"
SYSTEM = {"role": "system", "content": "Be brief."}


def dialogue(*turns: tuple[str, str], **extra: Any) -> Row:
    return Row(id="r", messages=(SYSTEM, *({"role": role, "content": text} for role, text in turns)), **extra)


def test_only_the_answer_and_its_end_are_learned() -> None:
    codec = codec_of(BASE)
    row = dialogue(("user", "Hi"), ("assistant", '{"category": "bug"}'))
    assert segments(codec, row) == [
        ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", False),
        ('{"category": "bug"}<|im_end|>', True),
    ]
    found = encode(codec, row)
    assert len(found.ids) == len(found.learned)
    assert sum(found.learned) == len(codec.tokenize('{"category": "bug"}<|im_end|>'))
    assert found.ids[-1] == codec.tokenize("<|im_end|>")[0]


def test_the_prompt_has_the_ids_a_server_makes_of_it() -> None:
    codec = codec_of(BASE)
    row = dialogue(("user", "My card é was declined"), ("assistant", " leading space"))
    found = encode(codec, row)
    prompt = codec.render(list(row.messages[:-1]), [], True)
    asked = [id for id, learned in zip(found.ids, found.learned, strict=True) if not learned]
    assert asked == codec.tokenize(prompt)


def test_every_answer_of_a_dialogue_is_learned_except_those_of_weight_zero() -> None:
    codec = codec_of(BASE)
    row = dialogue(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    assert [text for text, learned in segments(codec, row) if learned] == ["one<|im_end|>", "two<|im_end|>"]
    assert "".join(text for text, _ in segments(codec, row)) + "\n" == codec.render(list(row.messages), [], False)
    silent = Row(id="r", messages=(*row.messages[:2], {**row.messages[2], "weight": 0}, *row.messages[3:]))
    assert [text for text, learned in segments(codec, silent) if learned] == ["two<|im_end|>"]


def test_a_row_whose_answers_all_have_weight_zero_is_refused() -> None:
    row = Row(id="r7", messages=({"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}))
    with pytest.raises(DataError, match="r7"):
        encode(codec_of(BASE), row)


def test_a_row_that_the_template_refuses_is_named_with_what_it_says() -> None:
    def render(messages: Any, tools: Any, prompt: bool) -> str:
        raise RuntimeError("System role\nnot supported")

    codec = Codec(render=render, tokenize=lambda text: [], ends=())
    with pytest.raises(DataError, match="row r: the base's chat template refuses it: System role not supported"):
        encode(codec, dialogue(("user", "a"), ("assistant", "b")))


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    def shouting(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        text = "".join(message["content"] for message in messages)
        return text if prompt else text.upper()

    codec = Codec(render=shouting, tokenize=lambda text: list(text.encode()), ends=())
    with pytest.raises(DataError, match="rewrites"):
        encode(codec, dialogue(("user", "q"), ("assistant", "a")))


def phi(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
    """As Phi's template: another end after the last turn's own."""
    said = "".join(f"<|{each['role']}|>\n{each['content']}<|end|>\n" for each in messages)
    return said + ("<|assistant|>\n" if prompt else "<|endoftext|>")


def sentencepiece(text: str) -> list[int]:
    """A tokenizer that, as SentencePiece does, puts a space before every text that it is given."""
    return [ord(letter) for letter in f" {text}"]


def test_an_answer_ends_at_the_first_end_behind_it_whatever_the_template_adds() -> None:
    codec = Codec(render=phi, tokenize=lambda text: list(text.encode()), ends=("<|endoftext|>", "<|end|>"))
    row = dialogue(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "say <|end|> twice"))
    assert [text for text, learned in segments(codec, row) if learned] == ["one<|end|>", "say <|end|> twice<|end|>"]


def test_an_answer_that_only_calls_a_tool_ends_at_the_first_end_as_well() -> None:
    def calling(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        shown = [{**each, "content": each["content"] or each["tool_calls"][0]["function"]["name"]} for each in messages]
        return phi(shown, tools, prompt)

    call = {"type": "function", "function": {"name": "refund", "arguments": "{}"}}
    row = Row(id="r", messages=({"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [call]}))
    codec = Codec(render=calling, tokenize=lambda text: list(text.encode()), ends=("<|endoftext|>", "<|end|>"))
    assert segments(codec, row)[-1] == ("refund<|end|>", True)


def test_white_space_behind_a_special_token_that_nobody_named_an_end_is_not_learned() -> None:
    def gemma(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        return "".join(f"<turn>{each['content'].strip()}</turn>\n" for each in messages) + ("<turn>" if prompt else "")

    row = dialogue(("user", "a"), ("assistant", " one "))
    known = Codec(render=gemma, tokenize=lambda text: list(text.encode()), ends=("<eos>",), special=("<turn>", "</turn>"))
    assert segments(known, row)[-1] == ("one</turn>", True)


def test_an_answer_goes_on_from_the_prompt_without_a_space_of_the_tokenizers_own() -> None:
    codec = Codec(render=phi, tokenize=sentencepiece, ends=("<|end|>",))
    row = dialogue(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    found = encode(codec, row)
    assert "".join(map(chr, found.ids)) == " " + "".join(text for text, _ in segments(codec, row))
    learned = [chr(id) for id, learn in zip(found.ids, found.learned, strict=True) if learn]
    assert "".join(learned) == "one<|end|>two<|end|>"


def test_a_token_that_would_reach_into_the_answer_is_cut_as_a_server_cuts_it() -> None:
    def pairs(text: str) -> list[int]:
        """Two letters a token, the last one alone where the number is odd."""
        return [hash_of(text[i : i + 2]) for i in range(0, len(text), 2)]

    def hash_of(part: str) -> int:
        return int.from_bytes(part.encode(), "big")

    def plain(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        return "".join(each["content"] for each in messages)

    row = Row(id="r", messages=({"role": "user", "content": "abc"}, {"role": "assistant", "content": "de"}))
    found = encode(Codec(render=plain, tokenize=pairs, ends=()), row)
    assert found.ids == (hash_of("ab"), hash_of("c"), hash_of("de"))
    assert found.learned == (False, False, True)


def forgetful(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
    """As Qwen3's template: what was thought is left out of the turns before the last question."""
    last = max(i for i, each in enumerate(messages) if each["role"] == "user")
    said = [
        f"[{each['role']}]{each['content'].split('</think>')[-1] if i < last else each['content']}<end>\n"
        for i, each in enumerate(messages)
    ]
    return "".join(said) + ("[assistant]" if prompt else "")


def test_a_template_that_forgets_what_was_thought_makes_each_answer_a_conversation_of_its_own() -> None:
    codec = Codec(render=forgetful, tokenize=lambda text: list(text.encode()), ends=("<end>",))
    row = dialogue(("user", "a"), ("assistant", "hm</think>one"), ("user", "b"), ("assistant", "ho</think>two"))
    with pytest.raises(DataError, match="once it is history"):
        encode(codec, row)
    first, second = (each for (each,) in conversations(codec, row, "sft"))
    said = [bytes(id for id, learn in zip(each.ids, each.learned, strict=True) if learn).decode() for each in (first, second)]
    assert said == ["hm</think>one<end>", "ho</think>two<end>"]
    assert bytes(second.ids).decode().startswith("[system]Be brief.<end>\n[user]a<end>\n[assistant]one<end>\n"), "as it is asked"
    ((whole,),) = conversations(codec, dialogue(("user", "a"), ("assistant", "hm</think>one")), "sft")
    assert whole == first


def test_a_template_that_leaves_tool_calls_out_is_refused() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "refund", "arguments": "{}"}}
    asked = {"role": "user", "content": "a"}
    row = Row(id="r", messages=(asked, {"role": "assistant", "content": None, "tool_calls": [call]}))
    with pytest.raises(DataError, match="leaves out the call of refund"):
        encode(Codec(render=phi, tokenize=lambda text: list(text.encode()), ends=("<|end|>",)), row)


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "strict turns, system in the first": (
        "{% set ns = namespace(told='', turn=0) %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.told = m.content %}"
        "{% else %}{% if (m.role == 'user') != (ns.turn % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% if m.role == 'user' %}<|im_start|>[INST] {{ ns.told ~ '\n\n' if ns.turn == 0 and ns.told else '' }}{{ m.content }}"
        " [/INST]{% else %} {{ m.content }}<|im_end|>{% endif %}{% set ns.turn = ns.turn + 1 %}{% endif %}{% endfor %}"
    ),
    "stripped": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "numbered": (
        "{% for m in messages %}<|im_start|>{{ loop.index }} {{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>{{ messages | length + 1 }} assistant\n{% endif %}"
    ),
    "no end of its own": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    ),
    "the last question marked": (
        "{% for m in messages %}{{ '>' if loop.last }}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
}


def slowly(codec: Codec, row: Row) -> Encoded:
    """The ids and mask by the definition: each answer behind everything before it, the whole text tokenized for each piece."""
    ids: list[int] = []
    learned: list[bool] = []
    text = ""
    for place, message in enumerate(row.messages):
        if message["role"] != "assistant" or message.get("weight") == 0:
            continue
        prompt = codec.render(list(row.messages[:place]), [], True)
        whole = codec.render(list(row.messages[: place + 1]), [], False)
        answer = whole[len(prompt) :].removesuffix("\n") if whole.endswith("<|im_end|>\n") else whole[len(prompt) :]
        assert whole.startswith(prompt)
        assert prompt.startswith(text)
        for piece, learn in ((prompt[len(text) :], False), (answer, True)):
            text += piece
            every = codec.tokenize(text)
            more = every[len(ids) :] if every[: len(ids)] == ids else codec.tokenize(piece)
            ids += more
            learned += [learn] * len(more)
    return Encoded(ids=tuple(ids), learned=tuple(learned))


def long_talk(answers: int) -> Row:
    """Line feeds and spaces at the edges, letters of several bytes, written-out special tokens, some answers not learned."""
    said = ("ok", " spaced ", "two\nlines\n", "é 水 🙂", "a <|im_end|> inside", "1 234", "-")
    messages = [SYSTEM]
    for i in range(answers):
        messages.append({"role": "user", "content": f"{said[i % 5]} question {i}"})
        messages.append({"role": "assistant", "content": f"{said[i % 7]} {i}", **({"weight": 0} if i % 9 == 4 else {})})
    return Row(id="r", messages=tuple(messages))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("base", ["ours", "of bytes", "with a space of its own"])
def test_a_long_conversation_has_the_ids_and_the_mask_that_it_has_piece_by_piece(name: str, base: str) -> None:
    ours = codec_of(BASE)
    cut = {"ours": ours.tokenize, "of bytes": lambda text: list(text.encode()), "with a space of its own": sentencepiece}[base]

    def rendered(messages: Any, tools: Any, prompt: bool) -> str:
        return render(TEMPLATES[name], messages, add_generation_prompt=prompt)

    codec = Codec(render=rendered, tokenize=cut, ends=("<|im_end|>",), special=ours.special)
    row = long_talk(MANY + 14)
    try:
        expected = slowly(codec, row)
    except AssertionError:
        with pytest.raises(DataError, match="template"):
            encode(codec, row)
        return
    found = encode(codec, row)
    assert (found.ids, found.learned) == (expected.ids, expected.learned)


def test_a_thousand_turns_are_rendered_and_tokenized_once_not_each_time_anew() -> None:
    ours, asked = codec_of(BASE), [0, 0]

    def rendered(messages: Any, tools: Any, prompt: bool) -> str:
        asked[0] += len(messages)
        return ours.render(messages, tools, prompt)

    def cut(text: str) -> list[int]:
        asked[1] += len(text)
        return ours.tokenize(text)

    row = long_talk(501)
    found = encode(Codec(render=rendered, tokenize=cut, ends=ours.ends, special=ours.special), row)
    assert asked[0] < 20 * len(row.messages)
    assert asked[1] < 10 * len(ours.render(list(row.messages), [], False))
    assert "".join(text for text, _ in segments(ours, row)) + "\n" == ours.render(list(row.messages), [], False)
    assert len(found.ids) == len(found.learned)


def test_the_weight_of_an_answer_is_that_of_each_of_its_tokens() -> None:
    codec = codec_of(BASE)
    row = dialogue(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    plain = encode(codec, row)
    assert plain.weights == ()
    messages = (*row.messages[:2], {**row.messages[2], "weight": 0.25}, row.messages[3], {**row.messages[4], "weight": 1.0})
    found = encode(codec, Row(id="r", messages=messages))
    one, two = (len(codec.tokenize(f"{answer}<|im_end|>")) for answer in ("one", "two"))
    assert (found.ids, found.learned) == (plain.ids, plain.learned)
    assert [weight for weight in found.weights if weight] == [0.25] * one + [1.0] * two
    assert (found.mass, plain.mass) == (0.25 * one + two, one + two)


def test_what_nothing_stands_before_is_not_learned_and_a_row_of_it_alone_is_refused() -> None:
    codec = Codec(render=lambda messages, tools, prompt: "".join(m["content"] for m in messages), tokenize=sentencepiece, ends=())
    bare = Codec(render=codec.render, tokenize=lambda text: list(text.encode()), ends=())
    (said, alone) = (Row(id="r", messages=({"role": "assistant", "content": text},)) for text in ("ab", "a"))
    assert encode(bare, said).learned == (False, True)
    with pytest.raises(DataError, match="row r: its answers hold no token that anything stands before"):
        encode(bare, alone)


def test_a_token_that_the_base_has_no_numbers_for_is_refused_by_its_row() -> None:
    """As of a tokenizer that got tokens which the weights never had."""
    codec, row = codec_of(BASE), dialogue(("user", "Hi"), ("assistant", "ok"))
    highest = max(encode(codec, row).ids)
    assert encode(replace(codec, size=highest + 1), row) == encode(replace(codec, size=None), row)
    with pytest.raises(
        DataError, match=f"row r: it has token {highest} of the tokenizer, and the base has numbers for {highest}"
    ):
        encode(replace(codec, size=highest), row)


SYSTEM_LAST = (
    "{% set told = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}"
    "[INST]{% if loop.last and told %}{{ told }}\n\n{% endif %}{{ m.content }}[/INST]"
    "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
"""As Mistral's: the system's words stand before the last turn of the user, and nowhere once it is answered."""
THOUGHT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>OPENED{% endif %}"
)
"""As of models that think: what asks for an answer goes on behind where answers begin."""


def of_template(template: str) -> Codec:
    """A codec of this template, a character an id."""

    def rendered(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        return render(template, messages, add_generation_prompt=prompt, tools=tools)

    return Codec(
        render=rendered, tokenize=lambda text: [ord(char) for char in text], ends=("</s>",), special=("</s>", "[INST]", "[/INST]")
    )


def test_answers_are_learned_behind_the_prompt_that_asks_for_them_where_history_is_written_otherwise() -> None:
    codec = of_template(SYSTEM_LAST)
    one = dialogue(("user", "Hi"), ("assistant", "ok"))
    assert segments(codec, one) == [("[INST]Be brief.\n\nHi[/INST]", 0.0), ("ok</s>", 1.0)]
    two = dialogue(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    asked = [segments(codec, each) for each in one_each(two)]
    assert asked[0] == [("[INST]Be brief.\n\na[/INST]", 0.0), ("one</s>", 1.0)]
    assert asked[1] == [("[INST]a[/INST]one</s>[INST]Be brief.\n\nb[/INST]", 0.0), ("two</s>", 1.0)]
    assert [len(group) for group in conversations(codec, two, "sft")] == [1, 1], "each as a server is asked for it"


def test_an_answer_is_learned_behind_an_empty_thought_and_refused_behind_one_that_is_not_closed() -> None:
    row = dialogue(("user", "Hi"), ("assistant", "ok"))
    for empty in ("<think>\n\n</think>\n\n", "<|channel>thought\n<channel|>"):
        asked, said = segments(of_template(THOUGHT.replace("OPENED", empty)), row)
        assert asked == ("<|system|>Be brief.</s><|user|>Hi</s><|assistant|>" + empty, 0.0)
        assert said == ("ok</s>", 1.0)
    with pytest.raises(DataError, match=r"asks for an answer with '<think>\\n', and writes none that begins so") as caught:
        segments(of_template(THOUGHT.replace("OPENED", "<think>\n")), row)
    assert "chat_template.jinja" in (caught.value.fix or "")


def test_an_answer_that_stands_behind_something_else_than_what_asks_for_it_is_refused_with_both() -> None:
    """As Nemotron's, which opens a thought for the answer and writes those without one behind a closed one."""
    template = (
        "{% for m in messages %}<s>{{ m.role }}\n{{ '<think></think>' if m.role == 'assistant' }}{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant\n<think>\n{% endif %}"
    )
    codec = replace(of_template(template), special=("<s>", "</s>"))
    said = r"asks for an answer with '<s>assistant\\n<think>\\n', and writes this one behind '<s>assistant\\n<think></think>'"
    with pytest.raises(DataError, match=said) as caught:
        segments(codec, dialogue(("user", "Hi"), ("assistant", "ok")))
    assert "chat_template.jinja" in (caught.value.fix or "")
