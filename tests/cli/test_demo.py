from __future__ import annotations

import sys


def test_a_demo_that_lacks_packages_names_them_all_with_one_command_and_makes_nothing(tell, tmp_path, monkeypatch):
    for name in ("xllamacpp", "openai"):
        monkeypatch.setitem(sys.modules, name, None)  # as on a machine where they were never installed
    told = tell("demo", tmp_path / "d", "--json")
    assert (told.code, told.json["error"]["kind"]) == (4, "MissingExtra")
    assert told.json["error"]["message"].endswith("not installed: xllamacpp, openai")
    assert told.json["error"]["fix"] == "pip install 'tunekeeper[train,local,demo]'"
    assert not (tmp_path / "d").exists()
