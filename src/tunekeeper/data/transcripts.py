"""Conversations written as one text, with a mark before each turn: what a set holds that was rendered for a model already.

`Human:` and `Assistant:` (hh-rlhf), `### Human:` (Guanaco), `USER:` (Vicuna), `### Instruction:` (Alpaca), and the tokens of
ChatML, Llama, Mistral, Gemma, Phi, DeepSeek and gpt-oss. The marks are no part of what is said: a model gets those of its own
template.
"""

from __future__ import annotations

import re
from typing import Any

_KNOWN = 20_000
"""Characters that may stand before the first mark: the instructions of a set that has them there."""
_FORMS = tuple(
    re.compile(form)
    for form in (
        r"<\|im_start\|>(?P<role>\w+)[ \t]*\n?",
        r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\s*",
        r"<\|header_start\|>(?P<role>\w+)<\|header_end\|>\s*",
        r"<\|start\|>(?P<role>\w+)(?:<\|channel\|>(?P<channel>\w+))?<\|message\|>",
        r"<start_of_turn>(?P<role>\w+)[ \t]*\n?",
        r"<\|(?P<role>system|user|assistant)\|>\s*",
        r"<\uff5c(?P<role>User|Assistant)\uff5c>",
        r"(?P<role><<SYS>>|<</SYS>>|\[/?INST\])",
        r"(?:\A|\n)[ \t]*### ?(?P<role>Instruction|Input|Response|System):?[ \t]*\n",
        r"(?:\A|\s*)### ?(?P<role>Human|Assistant|User|System):",
        r"(?:\A|\n\s*\n)\s*(?P<role>Human|Assistant|System):",
        r"(?:\A|\s|</s>)(?P<role>USER|ASSISTANT|SYSTEM):",
    )
)
"""One mark each: how a turn begins."""
_ROLES = {
    "human": "user",
    "model": "assistant",
    "instruction": "user",
    "input": "user",
    "response": "assistant",
    "<<sys>>": "system",
    "<</sys>>": "user",
    "[inst]": "user",
    "[/inst]": "assistant",
}
_TOKENS = re.compile(
    r"<\|(?:im_end|eot_id|eot|end|return|call|begin_of_text|end_of_text|endoftext|startoftext)\|>|</?s>|<(?:bos|eos|end_of_turn)>"
    "|<\uff5c(?:begin|end)\u2581of\u2581sentence\uff5c>"
)
"""What begins or ends a text or a turn."""
_BEGUN = re.compile(
    r"(?:(?:^|\s|###? ?)(?:Assistant|ASSISTANT|Response):|\[/INST\]|<\|im_start\|>assistant|<\|assistant\|>|<start_of_turn>model"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>)\s*\Z"
)
"""The end of a prompt in which the answer is begun."""
_PARTED = re.compile(r"\n\s*(?:#{2,}|-{3,})\s*\Z|\s->\s*\Z")
_STOPPED = re.compile(r"\s*(?:\bEND|#{2,}|-{3,})\s*\Z")
_ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|eot|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<end_of_turn>"),
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)
"""What a model ends its text with: an answer that ends so was written down as a model says it."""
_PREAMBLE = "Below is an instruction that describes a task"
"""How Alpaca's own words before the first mark begin: they are the template's, no instructions."""


def turns_of(text: str) -> list[dict[str, Any]] | None:
    """The chat messages of a text with marked turns; None for one in which nobody is marked to ask, or what comes first is no
    mark. A last turn that is only begun (`Assistant:`) is left out."""
    found = [(match.start(), place) for place, form in enumerate(_FORMS) if (match := form.search(text, 0, _KNOWN)) is not None]
    for _, place in sorted(found):
        turns = _split(text, _FORMS[place])
        if any(turn["role"] == "user" for turn in turns):
            return turns
    return None


def rendered(prompt: str, answer: str) -> tuple[list[dict[str, Any]], str] | None:
    """The chat messages of a prompt that was rendered for a model and its answer, without what begins and ends them; None for a
    prompt as people write it. `…\n\n###\n\n` with ` END` is how OpenAI's old completions were tuned."""
    whole, answer = answer, _without_ends(answer)
    plain = None if whole is answer else ([{"role": "user", "content": prompt}], answer)
    if not prompt[-40:].rstrip().endswith((":", "]", ">", "#", "-", "assistant", "model")):
        return plain
    if (mark := _BEGUN.search(prompt, max(0, len(prompt) - 80))) is not None:
        turns = turns_of(prompt[: mark.start()])
        return (turns, _said(answer)) if turns and turns[-1]["role"] == "user" else plain
    if (mark := _PARTED.search(prompt, max(0, len(prompt) - 80))) is not None:
        return [{"role": "user", "content": prompt[: mark.start()].strip()}], _STOPPED.sub("", answer).strip()
    return plain


def _without_ends(answer: str) -> str:
    """The answer without what a model ends its text with; itself where it has no such end."""
    text = answer.rstrip()
    while end := next((end for end in _ENDS if text.endswith(end)), ""):
        text = answer = text.removesuffix(end).rstrip()
    return answer


def _split(text: str, form: re.Pattern[str]) -> list[dict[str, Any]]:
    marks = list(form.finditer(text))
    before = _said(text[: marks[0].start()])
    turns = [{"role": "system", "content": before}] if before and not before.startswith(_PREAMBLE) else []
    for mark, after in zip(marks, [*(each.start() for each in marks[1:]), len(text)], strict=True):
        if mark.groupdict().get("channel") in ("analysis", "commentary"):  # what gpt-oss thinks, and says to its tools
            continue
        name = mark["role"].casefold()
        role, said = _ROLES.get(name, name), _said(text[mark.end() : after])
        if not said and (role != "assistant" or after == len(text)):
            continue
        if turns and turns[-1]["role"] == role == "user" and name in ("input", "<</sys>>"):
            turns[-1]["content"] += f"\n{said}"
        else:
            turns.append({"role": role, "content": said})
    return turns


def _said(text: str) -> str:
    return _TOKENS.sub("", text).strip()
