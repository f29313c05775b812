from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.text.prompts import prompted
from tunekeeper.text.rendering import render

STRICT = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system must be first') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
)
"""As the templates of many models: a second system message is refused."""
SYSTEM = {"role": "system", "content": "Answer simply."}
SHOTS = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "r"})
ASKED = ({"role": "system", "content": "Be formal."}, {"role": "user", "content": "hi"})


def given(asked: Any, *own: Any) -> str:
    found = prompted(asked, own, lambda message: message.get("role"))
    return render(STRICT, found, add_generation_prompt=False)


def test_a_prompt_of_its_own_takes_the_place_of_the_client_s() -> None:
    assert given(ASKED, SYSTEM) == "[system]Answer simply.[user]hi"
    assert given(ASKED[1:], SYSTEM) == "[system]Answer simply.[user]hi"
    with pytest.raises(ArtifactError, match="system must be first"):
        render(STRICT, [SYSTEM, *ASKED], add_generation_prompt=False)


def test_examples_stand_before_the_conversation_and_after_the_prompt() -> None:
    assert given(ASKED, SYSTEM, *SHOTS) == "[system]Answer simply.[user]q[assistant]r[user]hi"
    assert given(ASKED, *SHOTS) == "[system]Be formal.[user]q[assistant]r[user]hi"


def test_a_developer_s_message_is_such_a_prompt_too_and_what_comes_later_stays() -> None:
    opening = ({"role": "developer", "content": "a"}, {"role": "system", "content": "b"})
    later = ({"role": "user", "content": "hi"}, {"role": "developer", "content": "now in French"})
    assert given((*opening, *later), SYSTEM) == "[system]Answer simply.[user]hi[developer]now in French"


def test_nothing_of_its_own_changes_nothing() -> None:
    assert prompted(ASKED, (), lambda message: message["role"]) == list(ASKED)
