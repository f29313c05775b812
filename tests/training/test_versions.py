"""Numbers and names of versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.training.versions import champion, find_version, name_of, next_number
from tunekeeper.workspace import Workspace


def version(major: int, minor: int, base: str = "sha256:a") -> Version:
    name = name_of((major, minor), date(2026, 2, 26), 2104)
    return Version(id=f"desk@{name}", model="desk", name=name, major=major, minor=minor, base="base", base_digest=base)


def test_the_first_trained_version_is_v1_0_whatever_prompted_bases_there_are() -> None:
    assert next_number([], "sha256:a") == (1, 0)
    assert next_number([version(0, 0), version(0, 1)], "sha256:a") == (1, 0)


def test_the_minor_grows_with_each_run_and_a_new_base_starts_the_next_major() -> None:
    known = [version(1, 9), version(1, 10), version(1, 2)]
    assert next_number(known, "sha256:a") == (1, 11)
    assert next_number(known, "sha256:b") == (2, 0)
    assert next_number([*known, version(2, 0, "sha256:b")], "sha256:a") == (3, 0)


def test_a_name_holds_number_date_and_count_of_examples() -> None:
    assert name_of((2, 3), date(2026, 2, 26), 2104) == "v2.3-2026-02-26-2104examples"


def test_a_version_is_found_by_id_name_or_number(ws: Workspace) -> None:
    with ws.state.write(by="training") as tx:
        for each in (version(1, 0), version(1, 1), version(1, 10)):
            save_version(tx, each)
    with ws.state.read() as tx:
        for name in ("v1.1", "v1.1-2026-02-26-2104examples", "desk@v1.1-2026-02-26-2104examples"):
            assert find_version(tx, "desk", name).minor == 1
        with pytest.raises(NotFound, match=r"v1\.2"):
            find_version(tx, "desk", "v1.2")


def test_without_a_model_a_name_is_enough_while_one_model_alone_has_it(ws: Workspace) -> None:
    with ws.state.write(by="training") as tx:
        for each in (version(1, 0), version(1, 1), replace(version(1, 0), id="shop@v1.0-2026-02-26-2104examples", model="shop")):
            save_version(tx, each)
    with ws.state.read() as tx:
        assert find_version(tx, None, "v1.1").model == "desk"
        assert find_version(tx, None, "shop@v1.0").model == "shop"
        with pytest.raises(NotFound, match=r"2 versions are called 'v1.0'.*MODEL@NAME"):
            find_version(tx, None, "v1.0")


def test_there_is_no_champion_before_the_first_route(ws: Workspace) -> None:
    assert champion(ws, "desk") is None
