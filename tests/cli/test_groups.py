"""Groups: the command that is meant is made, and no other."""

from __future__ import annotations

from tunekeeper.cli.groups import load_command


def test_of_a_group_only_the_command_that_is_meant_is_made(tell):
    def made(wanted: str | None) -> set[str]:
        return set(load_command("tunekeeper.cli.data:app", "data", wanted=wanted).commands)

    assert (made("diff"), made("queue")) == ({"diff"}, {"queue"})
    assert {"diff", "freeze", "queue"} < made(None) == made("dif")
    assert "Did you mean 'diff'?" in tell("data", "dif").err
