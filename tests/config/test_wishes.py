from __future__ import annotations

from pathlib import Path

from tunekeeper.config import load_project
from tunekeeper.config.serving import load_routing_file, load_serve_file
from tunekeeper.config.wishes import ids_of, project_seeds, project_slots, seeds_of, slots_of

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


def test_a_two_slot_file_makes_a_static_route(tmp_path):
    path = put(tmp_path, "active_slot: green\nblue: {endpoint: 'h:1'}\ngreen: {endpoint: 'h:2'}\n")
    file = load_routing_file(path, "m")
    assert seeds_of(file, ids_of(file))[0].static == str(path)


def test_a_project_s_slots_are_named_after_their_model_and_its_shares_only_where_it_has_a_route(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "tunekeeper.yaml").write_text("")
    slots = "  slots: {a: {endpoint: 'h:1', messages: [{role: user, content: hi}]}}\n"
    text = f"rollout: {{assign_by: key}}\nserving:\n{slots}  fallback: [a]\n"
    (tmp_path / "models" / "desk.yaml").write_text(text)
    (tmp_path / "models" / "mail.yaml").write_text(text + "  route: {a: 10000}\n")
    models = load_project(tmp_path, environ={}).models
    slots = project_slots(models)
    assert [(slot.id, slot.gated, slot.version) for slot in slots] == [("desk/a", False, "a"), ("mail/a", False, "a")]
    assert slots[0].messages == ({"role": "user", "content": "hi"},)
    desk, mail = project_seeds(models)
    assert (desk.weights, desk.block, desk.assign_by, desk.fallback[0].slot) == ({}, None, "key", "desk/a")
    assert (mail.weights, mail.block is None, mail.durability) == ({"mail/a": 10_000}, False, None)
