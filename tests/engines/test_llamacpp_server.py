"""What llama.cpp is told, and what its answers owe to it."""

from __future__ import annotations

import pytest

from tunekeeper.engines.llamacpp_server import options, parameters


@pytest.mark.real
@pytest.mark.parametrize(("adapters", "megabytes"), [([], 64), (["a.gguf"], 0), (["a.gguf", "b.gguf"], 0)])
def test_prompts_are_not_kept_from_one_adapter_to_the_next(adapters: list[str], megabytes: int) -> None:
    """A prompt that llama.cpp keeps in memory is taken up by a request with another adapter, whose answer then is neither's."""
    given = [word for path in adapters for word in ("--lora", path)]

    found = parameters(options().parse_args(["--model", "m.gguf", *given]), 0)

    assert found.cache_ram_mib == megabytes
