"""A training that goes on says loss, speed, time left, and what its finished epochs scored on the sample."""

from __future__ import annotations

import json
from pathlib import Path

from tunekeeper.jobs import Job
from tunekeeper.training.standing import Watch, said


def test_a_running_training_tells_loss_speed_and_the_score_of_each_finished_epoch(tmp_path: Path) -> None:
    asked = tmp_path / "sample.jsonl"
    question = {"id": "a", "messages": [{"role": "user", "content": "?"}], "tools": [], "expected": "yes", "category": ""}
    asked.write_text(json.dumps(question) + "\n")
    told = {"step": 3, "steps": 8, "loss": 0.5, "tokens_per_second": 1530.2, "eta_seconds": 81.6}
    job = Job(
        id="j", kind="train", model="desk", state="running", work=tmp_path, progress=0.25, detail=told,
        input={"sample": str(asked), "scorers": {"exact": {}}},
    )  # fmt: skip
    watch = Watch()
    assert said(job, watch) == "running 25%, step 3 of 8, 82 s left, loss 0.500, 1,530 tokens/s"
    for epoch, answer in (("1", "no"), ("2", "yes")):
        (tmp_path / "epochs" / epoch).mkdir(parents=True)
        (tmp_path / "epochs" / epoch / "answers.jsonl").write_text(json.dumps({"id": "a", "answer": answer}) + "\n")
        watch.sentence(job)
    assert watch.sentence(job) == "loss 0.500, 1,530 tokens/s, sample 0% 100%"
    assert watch.task == (0.0, 1.0)


def test_a_job_that_has_said_nothing_yet_has_no_sentence(tmp_path: Path) -> None:
    job = Job(id="j", kind="train-hosted", model="desk", state="queued", work=tmp_path)
    assert (Watch().sentence(job), said(job, Watch())) == ("", "queued")
