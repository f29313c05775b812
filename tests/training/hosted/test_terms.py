"""A recipe in each provider's words."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.training.backends import PLAIN
from tunekeeper.training.config import Config
from tunekeeper.training.hosted.provider import Values
from tunekeeper.training.hosted.terms import KNOWN, line
from tunekeeper.training.recipe import resolve
from tunekeeper.training.rows import Row

TOGETHER = {
    "n_epochs": 2,
    "n_checkpoints": 1,
    "batch_size": 8,
    "learning_rate": 0.001,
    "max_grad_norm": 1.0,
    "weight_decay": 0.1,
    "random_seed": 7,
    "training_type": {
        "type": "Lora",
        "lora_r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.0,
        "lora_trainable_modules": "q_proj,v_proj",
    },
    "training_method": {"method": "dpo", "dpo_beta": 0.2},
    "max_seq_length": 512,
}


@pytest.mark.parametrize(
    ("provider", "recipe", "said"),
    [
        (
            "openai",
            {"epochs": 2, "batch": 8, "objective": "dpo", "beta": 0.2},
            {
                "type": "dpo",
                "dpo": {"hyperparameters": {"n_epochs": 2, "batch_size": 8, "beta": 0.2, "learning_rate_multiplier": 1.5}},
            },
        ),
        (
            "together",
            {"epochs": 2, "batch": 8, "objective": "dpo", "beta": 0.2, "learning_rate": 0.001, "weight_decay": 0.1, "seed": 7}
            | {"rank": 32, "alpha": 64, "targets": ("q_proj", "v_proj"), "max_tokens": 512},
            TOGETHER,
        ),
        (
            "mistral",
            {"epochs": 2, "learning_rate": 0.001, "weight_decay": 0.1, "max_tokens": 512},
            {"epochs": 2, "learning_rate": 0.001, "weight_decay": 0.1, "seq_len": 512},
        ),
        (
            "fireworks",
            {"epochs": 2, "rank": 32, "learning_rate": 0.001, "batch": 8, "max_tokens": 512, "warmup_steps": 5},
            {"epochs": 2, "loraRank": 32, "learningRate": 0.001, "batchSizeSamples": 8, "maxContextLength": 512}
            | {"learningRateWarmupSteps": 5},
        ),
    ],
)
def test_every_value_that_a_provider_takes_is_told_in_its_own_words(
    provider: str, recipe: dict[str, Any], said: dict[str, Any]
) -> None:
    extra = {"learning_rate_multiplier": 1.5}
    values = Values(recipe=resolve(Config(**recipe)), plain=PLAIN, terms=KNOWN[provider].terms, extra=extra)
    values.check(provider)
    assert KNOWN[provider].hyperparameters(values) == said


def test_the_line_follows_the_objective() -> None:
    row = Row(id="r", messages=({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}), rejected="c")
    assert set(line(row, "sft", KNOWN["together"].terms)) == {"messages"}
    assert set(line(row, "dpo", KNOWN["together"].terms)) == {"input", "preferred_output", "non_preferred_output"}
