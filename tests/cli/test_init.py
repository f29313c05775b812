from __future__ import annotations

import pytest


def test_a_project_is_made_from_nothing_and_understood(tell, tmp_path):
    told = tell("init", tmp_path / "p", "--model", "support-desk", "--json")
    assert told.json["written"] == ["tunekeeper.yaml", ".gitignore", "models/support-desk.yaml"]
    assert tell("config", "check", "--dir", tmp_path / "p", "--json").json == {"ok": True, "models": ["support-desk"]}
    assert (tmp_path / "p" / ".tunekeeper" / "control.db").exists()


def test_nothing_that_is_there_is_overwritten(tell, project):
    (project / "tunekeeper.yaml").write_text("project: mine\n")
    told = tell("init", project)
    assert (told.code, "is there already" in told.err) == (2, True)
    assert tell("init", project, "--model", "second").code == 0
    assert (project / "tunekeeper.yaml").read_text() == "project: mine\n"
    assert (project / "models" / "second.yaml").exists()


def test_a_dry_run_writes_nothing(tell, tmp_path):
    assert tell("init", tmp_path / "p", "--dry-run").code == 0
    assert not (tmp_path / "p").exists()


def test_a_name_that_cannot_be_a_file_is_refused(tell, tmp_path):
    assert tell("init", tmp_path / "p", "--model", "../x").code == 2
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("place", ["/proc/nowhere/p", "file/p", "n" * 300])
def test_a_place_where_no_project_can_be_is_one_line(tell, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    told = tell("init", tmp_path / place)
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert "(fix: check the path)" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_next_command_can_be_copied_where_the_folder_has_a_blank(tell, tmp_path):
    told = tell("init", tmp_path / "my shop")
    assert told.out.splitlines()[-1] == f"next: tunekeeper data import FILE --model NAME --dir '{tmp_path}/my shop'"


def test_two_models_of_a_project_never_share_a_suite(tell, project):
    assert tell("init", project, "--model", "1e5").code == 0
    written = {path.stem: path.read_text() for path in (project / "models").iterdir()}
    assert {name: f'suite: "suites/{name}.yaml"' in text for name, text in written.items()} == {
        "1e5": True,
        "support-desk": False,
    }
    assert tell("config", "check", "--dir", project, "--json").json["models"] == ["1e5", "support-desk"]


def test_several_models_are_made_at_once_each_with_a_suite_of_its_own(tell, tmp_path):
    folder = tmp_path / "agency"
    told = tell("init", folder, "--model", "acme-desk", "--model", "acme-mail", "--model", "acme-desk", "--json").json
    assert (told["models"], told["model"]) == (["acme-desk", "acme-mail"], "acme-desk")
    suites = {path.stem: "suite:" in path.read_text() for path in (folder / "models").iterdir()}
    assert suites == {"acme-desk": False, "acme-mail": True}
    assert tell("init", folder, "--model", "acme-desk", "--model", "b2", "--json").json["written"] == ["models/b2.yaml"]
    assert tell("init", folder, "--model", "new", "--model", "No good").code == 2
    assert not (folder / "models" / "new.yaml").exists()
