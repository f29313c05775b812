"""The real trainer on the tiny base, in this process: learning, resuming, transcripts, clear failures."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError, ConfigError, DataError
from tunekeeper.core.ids import digest_file
from tunekeeper.training import job
from tunekeeper.training.recipe import from_json

from .conftest import BASE, SMALL, Local, chat_lines

pytestmark = [
    pytest.mark.real,
    # peft asks transformers under a name that transformers is about to drop.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

NAN_IN_FLOAT16 = b"\x00\x7e"
ANSWER = '{"category": "bug", "priority": "low"}'


def order(folder: Path, count: int = 48, **changes: Any) -> dict[str, Any]:
    """A job input on `count` rows written into `folder`."""
    lines = [_same_answer(line) for line in chat_lines(count + 6)]
    (folder / "train.jsonl").write_text("".join(lines[:count]))
    (folder / "eval.jsonl").write_text("".join(lines[count:]))
    names = from_json({}).as_json()
    recipe = {key: value for key in names if (value := getattr(SMALL, key)) is not None}
    return {
        "base": str(BASE),
        "train": str(folder / "train.jsonl"),
        "eval": str(folder / "eval.jsonl"),
        "recipe": {**recipe, "targets": ["all-linear"]},
        "dataset_digest": "sha256:d",
        "transcript": 4,
        "answer_tokens": 24,
        **changes,
    }


def _same_answer(line: str) -> str:
    """The row with one answer for all, which a few steps learn."""
    value = json.loads(line)
    value["messages"][-1]["content"] = ANSWER
    return json.dumps(value) + "\n"


class Killed(BaseException):
    """What a kill looks like from inside."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Local]:
    """One training of 48 rows and 2 epochs: (folder, output, context)."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "work").mkdir()
    context = Local(folder / "work")
    return folder, job.run(order(folder), context), context


def test_a_run_learns_and_leaves_adapter_sidecar_and_curve(trained: tuple[Path, dict[str, Any], Local]) -> None:
    folder, output, context = trained
    assert output["step"] == 12
    assert output["loss"][-1] < output["loss"][0] / 2
    assert output["eval_loss"][1] < output["eval_loss"][0]
    assert len(output["eval_loss"]) == 2
    assert output["rows"] == 48
    assert output["left_out"] == 0
    assert {"adapter_model.safetensors", "adapter_config.json", "tunekeeper.json"} <= {
        p.name for p in (folder / "work/adapter").iterdir()
    }
    assert max(line["fraction"] for line in context.told) <= 1
    assert any("eta_seconds" in line and line["tokens_per_second"] > 0 for line in context.told)


def test_the_transcript_holds_text_ids_greedy_answers_and_log_probabilities(trained: tuple[Path, dict[str, Any], Local]) -> None:
    folder, _, _ = trained
    lines = [json.loads(line) for line in (folder / "work/epochs/2/transcript.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert line["rendered"].endswith("<|im_start|>assistant\n")
        assert len(line["answer_ids"]) == len(line["logprobs"])
        assert all(value <= 0 for value in line["logprobs"])
        assert line["messages"][-1]["role"] == "user"
        assert (line["finish_reason"] == "stop") == (line["answer_ids"][-1] == 2)
    assert sum(line["finish_reason"] == "stop" for line in lines) >= 3
    assert all(json.loads(line["answer"]).keys() == {"category", "priority"} for line in lines)
    assert any(line["answer"] == ANSWER for line in lines)


def test_a_run_killed_after_an_epoch_resumes_to_the_very_same_adapter(
    trained: tuple[Path, dict[str, Any], Local], tmp_path: Path
) -> None:
    whole, _, _ = trained
    work = tmp_path / "work"
    work.mkdir()

    def kill(fields: dict[str, Any]) -> None:
        if (work / "checkpoint.pt").exists():
            raise Killed

    with pytest.raises(Killed):
        job.run(order(tmp_path), Local(work, kill))
    assert not (work / "adapter").exists()
    output = job.run(order(tmp_path), Local(work))
    assert output["resumed_from"] == 1
    assert output["step"] == 12
    name = "adapter/adapter_model.safetensors"
    assert digest_file(work / name) == digest_file(whole / "work" / name)
    assert (work / "epochs/2/transcript.jsonl").read_bytes() == (whole / "work/epochs/2/transcript.jsonl").read_bytes()


def test_a_damaged_checkpoint_is_not_gone_on_from_and_the_run_comes_out_the_same(tmp_path: Path) -> None:
    work, sound = tmp_path / "work", tmp_path / "sound"
    for each in (work, sound):
        each.mkdir()

    def kill(fields: dict[str, Any]) -> None:
        if (work / "checkpoint.pt").exists():
            raise Killed

    asked = order(tmp_path, count=8, transcript=0)
    job.run(asked, Local(sound))
    with pytest.raises(Killed):
        job.run(asked, Local(work, kill))
    data = bytearray((work / "checkpoint.pt").read_bytes())
    data[len(data) // 2] ^= 64  # one bit, among the weights
    (work / "checkpoint.pt").write_bytes(data)
    assert job.run(asked, Local(work))["resumed_from"] is None
    name = "adapter/adapter_model.safetensors"
    assert digest_file(work / name) == digest_file(sound / name)


def test_each_epoch_leaves_its_adapter_its_curve_and_what_it_answers(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    asked = [{"id": f"q{i}", "messages": json.loads(line)["messages"][:-1]} for i, line in enumerate(chat_lines(3))]
    (tmp_path / "sample.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    job.run(order(tmp_path, sample=str(tmp_path / "sample.jsonl")), Local(tmp_path / "work"))
    adapters = [digest_file(tmp_path / f"work/epochs/{n}/adapter/adapter_model.safetensors") for n in (1, 2)]
    assert adapters[0] != adapters[1] == digest_file(tmp_path / "work/adapter/adapter_model.safetensors")
    for epoch in (1, 2):
        folder = tmp_path / "work/epochs" / str(epoch)
        answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
        assert [line["id"] for line in answers] == ["q0", "q1", "q2"]
        curve = json.loads((folder / "curve.json").read_text())
        assert len(curve["eval_loss"]) == epoch
        assert curve["seconds"] > 0
        assert curve["cpu_seconds"] > 0
    assert answers[0]["answer"] == ANSWER
    assert not list((tmp_path / "work/epochs").glob(".*")), "no epoch is left half-written"


def test_training_stops_early_when_the_held_out_loss_no_longer_falls(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    work = order(tmp_path)
    held = json.loads((tmp_path / "eval.jsonl").read_text().splitlines()[0])
    held["messages"][-1]["content"] = "zzz qqq 0000"  # what is learned makes this less likely, so its loss rises
    (tmp_path / "eval.jsonl").write_text(json.dumps(held) + "\n")
    work["recipe"] |= {"epochs": 6, "patience": 1}
    output = job.run(work, Local(tmp_path / "work"))
    assert output["epoch"] < 6
    assert output["eval_loss"][-1] >= min(output["eval_loss"][:-1])


@pytest.mark.parametrize("changes", [{"accumulation": 3}, {"packing": True}, {"checkpointing": True}])
def test_how_a_step_is_worked_off_does_not_change_what_is_learned(
    trained: tuple[Path, dict[str, Any], Local], tmp_path: Path, changes: dict[str, Any]
) -> None:
    (tmp_path / "work").mkdir()
    work = order(tmp_path)
    work["recipe"] |= {**changes, "keep": "last"}
    output = job.run(work, Local(tmp_path / "work"))
    _, plain, _ = trained
    assert output["loss"] == pytest.approx(plain["loss"], rel=0.02, abs=1e-3)
    assert output["eval_loss"] == pytest.approx(plain["eval_loss"], rel=0.02, abs=1e-3)
    assert output["tokens"] == plain["tokens"]


@pytest.mark.parametrize(("changes", "key"), [({"dora": True}, "use_dora"), ({"rslora": True}, "use_rslora")])
def test_other_kinds_of_low_rank_adapters_learn_and_say_what_they_are(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    (tmp_path / "work").mkdir()
    work = order(tmp_path)
    work["recipe"] |= {**changes, "epochs": 1}
    output = job.run(work, Local(tmp_path / "work"))
    assert output["loss"][-1] < output["loss"][0]
    assert json.loads((tmp_path / "work/adapter/adapter_config.json").read_text())[key] is True


def test_a_preference_is_learned_from_the_rejected_answer_beside_the_chosen_one(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    work = order(tmp_path, count=24)
    for name in ("train", "eval"):
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        rows = [row | {"metadata": row["metadata"] | {"rejected": '{"category": "other"}'}} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    work["recipe"] |= {"objective": "dpo", "epochs": 2}
    output = job.run(work, Local(tmp_path / "work"))
    assert output["rows"] == 24
    assert output["loss"][0] == pytest.approx(0.6931, abs=0.02), "before the first step neither answer is preferred"
    assert output["eval_loss"][-1] < 0.55


def test_preferences_without_a_rejected_answer_are_refused(tmp_path: Path) -> None:
    work = order(tmp_path)
    work["recipe"] |= {"objective": "dpo"}
    with pytest.raises(DataError, match="none of 48 rows has a rejected answer"):
        job.run(work, Local(tmp_path))


def test_energy_is_the_sum_of_the_packages_and_unknown_where_it_cannot_be_read(tmp_path: Path) -> None:
    assert job.energy_joules(tmp_path) is None
    for name, text in (("intel-rapl:0", "1500000\n"), ("intel-rapl:1", "500000\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(text)
    assert job.energy_joules(tmp_path) == 2.0
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("?")
    assert job.energy_joules(tmp_path) is None


def test_a_continued_run_starts_where_its_parent_ended_and_replays(
    trained: tuple[Path, dict[str, Any], Local], tmp_path: Path
) -> None:
    whole, before, _ = trained
    (tmp_path / "work").mkdir()
    work = order(tmp_path, count=56, parent=str(whole / "work/adapter"), known=str(whole / "train.jsonl"))
    work["recipe"] |= {"replay": 0.5, "epochs": 1, "dropout": 0.1}
    output = job.run(work, Local(tmp_path / "work"))
    before_it, after = (json.loads((each / "work/adapter/adapter_config.json").read_text()) for each in (whole, tmp_path))
    assert after == before_it | {"lora_dropout": 0.1}, "the run's own dropout, the parent's shape"
    assert after["target_modules"] == sorted(after["target_modules"])
    assert (output["rows"], output["replayed"]) == (12, 4)
    assert output["loss"][0] < before["loss"][0] / 2


def test_a_parent_of_another_base_is_refused_before_anything_is_loaded(
    trained: tuple[Path, dict[str, Any], Local], tmp_path: Path
) -> None:
    whole, _, _ = trained
    sidecar = whole / "work/adapter/tunekeeper.json"
    said = sidecar.read_text()
    try:
        sidecar.write_text(json.dumps(json.loads(said) | {"base_digest": "sha256:other"}))
        with pytest.raises(ArtifactError, match=r"sha256:other.*sha256:"):
            job.run(order(tmp_path, parent=str(whole / "work/adapter")), Local(tmp_path))
    finally:
        sidecar.write_text(said)


def test_a_base_that_changed_since_the_run_was_begun_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="the run has sha256:old"):
        job.run(order(tmp_path, base_digest="sha256:old"), Local(tmp_path))


def test_a_loss_that_is_no_number_fails_with_the_step_and_a_smaller_rate(tmp_path: Path) -> None:
    poisoned = Path(shutil.copytree(BASE, tmp_path / "base"))
    weights = bytearray((poisoned / "model.safetensors").read_bytes())
    weights[-2:] = NAN_IN_FLOAT16
    (poisoned / "model.safetensors").write_bytes(weights)
    work = order(tmp_path, base=str(poisoned))
    with pytest.raises(ConfigError, match=r"loss became nan at step 1 with learning_rate 0\.002 .*0\.0002"):
        job.run(work, Local(tmp_path))
    assert not (tmp_path / "adapter").exists()


def test_a_base_without_an_end_or_a_filling_token_is_learned_on_as_well(tmp_path: Path) -> None:
    bare = Path(shutil.copytree(BASE, tmp_path / "base"))
    for name, keys in (("tokenizer_config.json", ("eos_token", "pad_token")), ("config.json", ("eos_token_id", "pad_token_id"))):
        value = json.loads((bare / name).read_text())
        (bare / name).write_text(json.dumps(value | dict.fromkeys(keys)))
    (bare / "generation_config.json").unlink()
    (tmp_path / "work").mkdir()
    work = order(tmp_path, count=8, base=str(bare))
    work["recipe"] |= {"epochs": 1}
    output = job.run(work, Local(tmp_path / "work"))
    assert output["rows"] == 8
    lines = [json.loads(line) for line in (tmp_path / "work/transcript.jsonl").read_text().splitlines()]
    assert {line["finish_reason"] for line in lines} == {"length"}, "nothing tells it where an answer ends"


def test_packing_is_refused_on_a_base_that_mixes_the_rows(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, OPTConfig

    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    (folder / "model.safetensors").unlink()
    words = json.loads((BASE / "config.json").read_text())["vocab_size"]
    few = {"hidden_size": 8, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 512}
    AutoModelForCausalLM.from_config(OPTConfig(vocab_size=words, **few, word_embed_proj_dim=8)).save_pretrained(folder)
    (tmp_path / "work").mkdir()
    work = order(tmp_path, count=8, base=str(folder))
    work["recipe"] |= {"packing": True}
    with pytest.raises(ConfigError, match="packing: a row of opt sees the rows") as caught:
        job.run(work, Local(tmp_path / "work"))
    assert caught.value.fix == "set packing to false"


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")  # peft's word on each layer of GPT-2
@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_what_is_longer_than_a_base_has_learned_places_for_is_refused_and_answers_end_with_the_places(
    tmp_path: Path, kind: str
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = Path(shutil.copytree(BASE, tmp_path / "base"))
    (folder / "model.safetensors").unlink()
    words, places = json.loads((BASE / "config.json").read_text())["vocab_size"], 50
    small = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": places}
    if kind == "opt":
        small = {"hidden_size": 8, "word_embed_proj_dim": 8, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        small["max_position_embeddings"] = places
    config = AutoConfig.for_model(kind, vocab_size=words, **small, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (tmp_path / "work").mkdir()
    work = order(tmp_path, count=24, base=str(folder))
    work["recipe"] |= {"epochs": 1}
    with pytest.raises(DataError, match=f"tokens, and .*base knows {places} places") as caught:
        job.run(work, Local(tmp_path / "work"))
    assert caught.value.fix == f"set training.max_tokens to {places}: what is longer is left out"
    work["recipe"] |= {"max_tokens": places}
    output = job.run(work | {"transcript": 6}, Local(tmp_path / "work"))
    assert 0 < output["left_out"] < 24
    lines = [json.loads(line) for line in (tmp_path / "work/transcript.jsonl").read_text().splitlines()]
    assert max(len(line["prompt_ids"]) + len(line["answer_ids"]) for line in lines) == places


def test_rows_that_are_all_too_long_are_refused(tmp_path: Path) -> None:
    work = order(tmp_path)
    work["recipe"] |= {"max_tokens": 8}
    with pytest.raises(DataError, match="none of 48 rows has at most 8 tokens"):
        job.run(work, Local(tmp_path))


def test_a_checkpoint_without_a_run_of_ours_gets_a_transcript(
    trained: tuple[Path, dict[str, Any], Local], tmp_path: Path
) -> None:
    whole, _, _ = trained
    asked = {"base": str(BASE), "prompts": str(whole / "eval.jsonl"), "count": 4, "answer_tokens": 24}
    output = job.transcript({**asked, "adapter": str(whole / "work/adapter")}, Local(tmp_path))
    assert output["transcribed"] == 4
    ours = [json.loads(line) for line in (tmp_path / "transcript.jsonl").read_text().splitlines()]
    theirs = [json.loads(line) for line in (whole / "work/epochs/2/transcript.jsonl").read_text().splitlines()]
    assert [line["answer_ids"] for line in ours] == [line["answer_ids"] for line in theirs]
    job.transcript(asked, Local(tmp_path))
    bare = [json.loads(line) for line in (tmp_path / "transcript.jsonl").read_text().splitlines()]
    assert [line["logprobs"] for line in bare] != [line["logprobs"] for line in ours]


def test_an_epoch_uses_each_row_once_in_groups_of_like_length() -> None:
    from tunekeeper.training.encode import Encoded
    from tunekeeper.training.loop import batches

    rows = [Encoded(ids=(1,) * n, learned=(True,) * n) for n in range(1, 101)]
    found = batches(rows, [1.0] * 100, 8, random.Random(0))
    assert sorted(len(row.ids) for batch in found for row in batch) == list(range(1, 101))
    lengths = [[len(row.ids) for row in batch] for batch in found]
    apart = sum(max(each) - min(each) for each in lengths) / len(lengths)
    assert apart < 40, "eight rows drawn at random are 78 apart"
    half = batches(rows, [0.5] * 100, 8, random.Random(0))
    assert 30 < sum(map(len, half)) < 70
    hardly = [0.0, 1e-9, 2e-9, 0.0]
    assert batches(rows[:4], hardly, 8, random.Random(0)) == [[rows[2]]], "an epoch that draws none has the likeliest"


def test_the_rate_climbs_then_falls_to_a_twentieth() -> None:
    from tunekeeper.training.loop import rate

    recipe = from_json({"learning_rate": 1.0, "warmup_steps": 10})
    assert rate(0, 100, recipe) == pytest.approx(0.1)
    assert rate(9, 100, recipe) > 0.95
    assert rate(100, 100, recipe) == pytest.approx(0.05)
