"""Full tuning on the tiny base, in this process: what it leaves, that a kill changes nothing, what may be continued."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_file
from tunekeeper.training import job
from tunekeeper.training.base import read_base
from tunekeeper.training.checkpoint import as_saved, check_tuned_parent
from tunekeeper.training.header import tensor_header

from .conftest import BASE, Local
from .test_job import ANSWER, Killed, order

pytestmark = pytest.mark.real
WEIGHTS = "model.safetensors"


def full(folder: Path, **changes: Any) -> dict[str, Any]:
    """A job input that tunes every number on 24 rows written into `folder`."""
    work = order(folder, count=24, **changes)
    work["recipe"] |= {"method": "full", "learning_rate": 2e-3, "dtype": "float32"}
    return work


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One full tuning of two epochs: (folder, output)."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "work").mkdir()
    return folder, job.run(full(folder), Local(folder / "work"))


def test_full_tuning_leaves_a_whole_checkpoint_in_the_layout_of_its_base(tuned: tuple[Path, dict[str, Any]]) -> None:
    folder, output = tuned
    model = folder / "work" / output["adapter"]
    assert output["adapter"] == "model"
    assert output["eval_loss"][1] < output["eval_loss"][0]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (model / name).read_bytes() == (BASE / name).read_bytes()
    mine, theirs = (json.loads((each / "config.json").read_text()) for each in (model, BASE))
    assert mine == theirs | {"dtype": "float32"}
    shapes, before = ({name: entry["shape"] for name, entry in tensor_header(each / WEIGHTS).items()} for each in (model, BASE))
    assert shapes == before
    made, base = read_base(model), read_base(BASE)
    assert made.digest != base.digest
    told = json.loads((model / "tunekeeper.json").read_text())
    assert (told["base_digest"], told["template_digest"]) == (base.digest, base.template_digest)
    assert told["files"][WEIGHTS] == made.digest == digest_file(model / WEIGHTS)
    assert (model / WEIGHTS).samefile(folder / "work/epochs/2/model" / WEIGHTS), "the last epoch's is not there twice"


def test_transformers_answers_from_the_files_what_the_transcript_says(tuned: tuple[Path, dict[str, Any]]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tunekeeper.training.transcript import greedy, log_probabilities

    folder, _ = tuned
    model = AutoModelForCausalLM.from_pretrained(folder / "work/model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "work/model")
    lines = [json.loads(line) for line in (folder / "work/epochs/2/transcript.jsonl").read_text().splitlines()]
    assert any(line["answer"] == ANSWER for line in lines)
    answers = greedy(model, tokenizer, [line["prompt_ids"] for line in lines], 24)
    assert answers == [line["answer_ids"] for line in lines]
    for line in lines:
        assert log_probabilities(model, line["prompt_ids"], line["answer_ids"]) == pytest.approx(line["logprobs"], abs=1e-4)


def test_full_tuning_killed_after_an_epoch_resumes_to_the_very_same_numbers(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole, _ = tuned
    work = tmp_path / "work"
    work.mkdir()

    def kill(fields: dict[str, Any]) -> None:
        if (work / "checkpoint.pt").exists():
            raise Killed

    with pytest.raises(Killed):
        job.run(full(tmp_path), Local(work, kill))
    assert not (work / "model").exists()
    assert job.run(full(tmp_path), Local(work))["resumed_from"] == 1
    assert digest_file(work / "model" / WEIGHTS) == digest_file(whole / "work/model" / WEIGHTS)


def test_of_the_whole_models_a_run_keeps_the_best_and_the_last(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    there: list[list[str]] = []

    def watch(fields: dict[str, Any]) -> None:
        there.append(sorted(each.parent.name for each in (work / "epochs").glob("[0-9]*/model")))

    asked = full(tmp_path)
    asked["recipe"] |= {"epochs": 4, "keep": "loss"}
    held = Path(asked["eval"])
    held.write_text(held.read_text().replace(json.dumps(ANSWER)[1:-1], "Nothing of what is learned."))
    losses = job.run(asked, Local(work, watch))["eval_loss"]
    best = str(losses.index(min(losses)) + 1)
    assert len(losses) == 4
    assert best != "4", "the more is learned the less likely is another answer"
    assert max(map(len, there)) == 2
    assert there[-1] == [best, "4"]
    assert sorted(each.name for each in (work / "epochs").iterdir()) == ["1", "2", "3", "4"], "curve and answers of each are told"


def test_a_tuned_model_is_continued_where_it_ended(tuned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    whole, before = tuned
    (tmp_path / "work").mkdir()
    work = full(tmp_path, parent=str(whole / "work/model"), parent_digest="sha256:p")
    work["recipe"] |= {"epochs": 1, "learning_rate": 1e-5}
    output = job.run(work, Local(tmp_path / "work"))
    assert output["loss"][0] < before["loss"][0] / 2
    assert output["eval_loss"][0] == pytest.approx(before["eval_loss"][-1], rel=0.2)
    told = json.loads((tmp_path / "work/model/tunekeeper.json").read_text())
    assert told["parent_checkpoint_digest"] == "sha256:p"


def test_a_tuned_model_of_another_base_or_tokenizer_is_not_continued(tuned: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tuned[0] / "work/model", tmp_path / "model"))
    base = read_base(BASE)
    check_tuned_parent(folder, base)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(ArtifactError, match="tokenizer or chat template is not that of"):
        check_tuned_parent(folder, base)
    (folder / "tunekeeper.json").write_text('{"base_digest": "sha256:other"}')
    with pytest.raises(ArtifactError, match=r"names base sha256:other, not .*sha256:"):
        check_tuned_parent(folder, base)


def test_numbers_are_rounded_while_they_are_saved_and_exact_afterwards() -> None:
    import torch

    model = torch.nn.Linear(3, 2)
    model.config = type("Settings", (), {"dtype": torch.bfloat16})()
    exact = model.weight.detach().clone()
    parameter = model.weight
    with pytest.raises(Killed), as_saved(model):
        assert model.weight is parameter
        assert model.weight.dtype == torch.bfloat16
        raise Killed
    assert torch.equal(model.weight, exact)
