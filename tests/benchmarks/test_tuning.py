"""Both sides of the training benchmark learn the same tokens, and what one cannot do ends it or is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tuning
from benchmarks.peers import sft
from tunekeeper.training.encode import Encoded

TINY = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
RECIPE = {"rank": 2, "alpha": 4, "epochs": 2, "batch": 4, "max_tokens": 64}
ROWS = [Encoded(ids=tuple(range(1, n)), learned=(False,) * 3 + (True,) * (n - 4)) for n in range(8, 20)]


def work(folder: Path, **more: Any) -> tuning.Work:
    made = tuning.Work(folder=folder, name="tiny", recipe=RECIPE, base=None, shape=TINY, **more)
    made.rows(ROWS)
    return made


def read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def test_the_peer_is_given_the_very_tokens_that_ours_learns(tmp_path: Path) -> None:
    columns = sft.rows_of(read(work(tmp_path).spec("trl")))
    assert [tuple(ids) for ids in columns["input_ids"]] == [row.ids for row in ROWS]
    assert columns["labels"][0] == [-100, -100, -100, 4, 5, 6, 7]


def test_the_peer_has_the_recipe_and_only_when_tuned_more_than_its_defaults(tmp_path: Path) -> None:
    made = work(tmp_path)
    plain, tuned = (sft.settings(read(made.spec("trl", tuned=tuned))) for tuned in (False, True))
    assert (plain["per_device_train_batch_size"], plain["num_train_epochs"], plain["bf16"]) == (4, 2, False)
    assert not {"packing", "gradient_checkpointing", "train_sampling_strategy"} & set(plain)
    assert (tuned["gradient_checkpointing"], tuned["train_sampling_strategy"]) == (False, "group_by_length")
    gpu = {"device": "cuda", "dtype": "bfloat16"}
    on_gpu = sft.settings(read(work(tmp_path, **gpu).spec("trl", tuned=True)))
    assert (on_gpu["packing"], on_gpu["bf16"], on_gpu["use_cpu"], on_gpu["use_liger_kernel"]) == (True, True, False, False)
    assert on_gpu["per_device_train_batch_size"] == 1  # as many tokens a step as four rows of thirteen, in packs of 64
    liger = sft.settings(read(work(tmp_path, **gpu, packs_at_once=2).spec("trl", tuned=True, liger=True, batch=20)))
    assert liger["use_liger_kernel"]
    assert (liger["per_device_train_batch_size"], liger["gradient_accumulation_steps"]) == (2, 2)


def test_a_side_that_cannot_do_it_is_left_out_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def side(work: tuning.Work, name: str, seed: int) -> Any:
        def run() -> dict[str, float]:
            if name == "trl":
                raise SystemExit("ended with 1")
            return {"per_cpu": 1.0, "per_second": 2.0}

        return run

    monkeypatch.setattr(tuning, "_side", side)
    failed: dict[str, str] = {}
    found = tuning.beside(work(tmp_path), ("ours", "trl"), 2, failed=failed)
    assert [list(one) for one in found.samples] == [["ours"], ["ours"]]
    assert failed == {"tiny, trl": "ended with 1"}
    with pytest.raises(SystemExit, match="ended with 1"):
        tuning.beside(work(tmp_path), ("ours", "trl"), 1)


@pytest.mark.real
# peft asks transformers under a name that transformers is about to drop.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("packing", [False, True])
def test_our_side_learns_a_shape_without_a_checkpoint(tmp_path: Path, packing: bool) -> None:
    took = tuning.train(read(work(tmp_path).spec("ours", packing=packing)))
    assert took["tokens"] == 2 * sum(len(row.ids) for row in ROWS)
    assert took["cpu"] > 0
    assert took["seconds"] > 0


def test_a_side_that_fails_leaves_no_figure(tmp_path: Path) -> None:
    broken = tmp_path / "spec.json"
    broken.write_text("{}")
    with pytest.raises(SystemExit, match="ended with 1: KeyError"):
        tuning.ours(broken)


def test_a_peer_that_is_not_there_is_named_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "PEER", tmp_path)
    assert tuning.missing() == {"trl": 'make bench-peers ARGS="trl"'}
    (tmp_path / ".made").touch()
    assert tuning.missing() == {}
