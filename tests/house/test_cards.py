"""Every room opens with its card and at most seven names; every field of a noun and of a section says what it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.house.source import LAYERS, Source, planted

WORDS = ("In:", "Out:", "Owns", "Never:")
SECTIONS = ("data", "training", "evaluation", "deployment", "rollout", "monitoring", "retraining", "gateway")


def faults_of_cards(files: list[Source]) -> tuple[list[str], int]:
    """Rooms whose card lacks a word or which show more than seven names, and how many rooms were looked at."""
    wrong, looked = [], 0
    for source in files:
        if source.path.name != "__init__.py" or source.module.count(".") != 1:
            continue
        looked += 1
        card = ast.get_docstring(source.tree) or ""
        wrong += [f"{source.module}: the card does not say {word!r}" for word in WORDS if word not in card]
        shown = next((node.value for node in source.tree.body if _assigns(node, "__all__")), None)  # type: ignore[attr-defined]
        if isinstance(shown, ast.List | ast.Tuple) and len(shown.elts) > 7:
            wrong.append(f"{source.module}: shows {len(shown.elts)} names")
    return wrong, looked


def undocumented(files: list[Source], chosen: str) -> tuple[list[str], int]:
    """Fields of dataclasses without a docstring under them, in modules that match, and how many fields were looked at."""
    wrong, looked = [], 0
    for source in (each for each in files if re.fullmatch(chosen, each.module)):
        for kind in (node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef) and _is_dataclass(node)):
            for node, after in zip(kind.body, [*kind.body[1:], None], strict=True):
                if isinstance(node, ast.AnnAssign) and not str(getattr(node.target, "id", "_")).startswith("_"):
                    looked += 1
                    if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
                        wrong.append(f"{source.module}.{kind.name}.{getattr(node.target, 'id', '')}")
    return wrong, looked


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name


def _is_dataclass(kind: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(each) for each in kind.decorator_list)


def test_every_room_has_its_card(ours, repository: Path):
    wrong, looked = faults_of_cards(ours)
    assert wrong == []
    rooms = {each.room for each in ours if each.path.parent != repository / "src" / "tunekeeper"}
    assert rooms <= set(LAYERS)
    assert looked == len(rooms)


def test_every_field_of_a_noun_and_of_a_section_says_what_it_is(ours):
    wrong, looked = undocumented(ours, r"tunekeeper\.(core\.nouns\.\w+|\w+\.config|gateway\.limits)")
    assert wrong == []
    assert looked > 250


def test_every_section_is_one_frozen_class_called_config(ours):
    files = {source.module: source for source in ours}
    for room in SECTIONS:
        kinds = [node for node in files[f"tunekeeper.{room}.config"].tree.body if isinstance(node, ast.ClassDef)]
        config = [node for node in kinds if node.name == "Config"]
        assert len(config) == 1, room
        assert "frozen=True" in ast.unparse(config[0].decorator_list[0]), room


def test_planted_faults_are_found(tmp_path: Path):
    text = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Config:\n    rank: int = 1\n"
    files = planted(tmp_path, {"data/__init__.py": '"""In: x. Out: y."""\n__all__ = [*"abcdefgh"]\n', "data/config.py": text})
    assert len(faults_of_cards(files)[0]) == 2
    assert undocumented(files, r".*config") == (["tunekeeper.data.config.Config.rank"], 1)
