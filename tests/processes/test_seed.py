from __future__ import annotations

from pathlib import Path

from tunekeeper.config.serving import load_routing_file, load_serve_file
from tunekeeper.processes.seed import ids_of, main, seeds_of, slots_of
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.workspace import open_workspace

TWO_MODELS = """\
models:
  desk:
    slots: {a: {endpoint: "http://127.0.0.1:9/v1", model: m, api_key_env: KEY}, b: {endpoint: "127.0.0.1:9", model: n}}
    route: {a: 9000, b: 1000}
    fallback: [b, {slot: a, system: short}]
    confidence_floor: 0.5
    shadow: {slot: b, share: 500}
  mail:
    slots: {a: {endpoint: "http://127.0.0.1:9/v1", model: z}}
    durability: power
"""


def put(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


def test_slots_keep_the_names_of_the_file_unless_an_earlier_model_took_them(tmp_path):
    file = load_serve_file(put(tmp_path, TWO_MODELS))
    assert ids_of(file) == {("desk", "a"): "a", ("desk", "b"): "b", ("mail", "a"): "mail/a"}
    slots = {slot.id: slot for slot in slots_of(file, ids_of(file))}
    assert (slots["a"].upstream_model, slots["a"].api_key_env, slots["a"].version, slots["a"].gated) == ("m", "KEY", "m", True)
    assert (slots["b"].endpoint, slots["mail/a"].model) == ("http://127.0.0.1:9/v1", "mail")


def test_a_file_becomes_seeds_with_fallbacks_and_shadow(tmp_path):
    file = load_serve_file(put(tmp_path, TWO_MODELS))
    desk, mail = seeds_of(file, ids_of(file))
    assert desk.weights == {"a": 9000, "b": 1000}
    assert [(entry.slot, entry.system) for entry in desk.fallback] == [("b", None), ("a", "short")]
    assert (desk.shadow, desk.shadow_share, desk.durability) == ("b", 500, "process")
    assert (desk.confidence_floor, mail.confidence_floor) == (0.5, None)
    assert (mail.weights, mail.durability) == ({"mail/a": 10_000}, "power")


def test_a_committed_slot_keeps_its_id_when_the_file_is_put_in_another_order(tmp_path):
    file = load_serve_file(put(tmp_path, TWO_MODELS))
    assert ids_of(file, {"a": "mail"}) == {("desk", "a"): "desk/a", ("desk", "b"): "b", ("mail", "a"): "a"}
    assert ids_of(file, {"a": "gone", "mail/a": "mail"}) == {("desk", "a"): "desk/a", ("desk", "b"): "b", ("mail", "a"): "mail/a"}


def test_what_a_file_says_is_committed_once(tmp_path):
    path, root = put(tmp_path, TWO_MODELS), tmp_path / "data"
    for _ in range(2):
        assert main(["--root", str(root), "--config", str(path)]) == 0
    with open_workspace(root).control.read() as tx:
        route = load_route(tx, "desk")
    assert {share.slot: share.weight for share in route.shares} == {"a": 9000, "b": 1000}


def test_a_two_slot_file_makes_a_static_route(tmp_path):
    path = put(tmp_path, "active_slot: green\nblue: {endpoint: 'h:1'}\ngreen: {endpoint: 'h:2'}\n")
    file = load_routing_file(path, "m")
    assert seeds_of(file, ids_of(file))[0].static == str(path)


def test_a_broken_file_is_one_json_line_and_exit_2(tmp_path, capsys):
    assert main(["--root", str(tmp_path / "data"), "--config", str(put(tmp_path, "models: {}\n"))]) == 2
    assert '"kind": "ConfigError"' in capsys.readouterr().err
