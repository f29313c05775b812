"""The made-up world: seeds, truths, held-out pairs, and how much its change hurts."""

from __future__ import annotations

import itertools
import json
import random

from tunekeeper.demo.phrases import CATEGORIES, ISSUES, PRIORITIES, PRODUCTS
from tunekeeper.demo.world import POLICY_1, POLICY_2, WORLD_1, WORLD_2, Ticket, conversation, is_held, request


def some(count: int, seed: int = 0, **options: object) -> list[Ticket]:
    return list(itertools.islice(WORLD_1.tickets(random.Random(seed), **options), count))  # type: ignore[arg-type]


def test_a_seed_gives_the_same_tickets_and_another_seed_others() -> None:
    assert some(50) == some(50)
    assert some(50) != some(50, seed=1)


def test_several_thousand_tickets_never_share_a_text() -> None:
    seen: set[str] = set()
    texts = [ticket.text for ticket in some(4000, seen=seen)]
    assert len(set(texts)) == 4000
    assert seen == set(texts)
    assert not seen & {ticket.text for ticket in some(500, seen=set(seen))}


def test_every_category_and_priority_occurs_and_the_answer_is_json() -> None:
    tickets = some(600)
    assert {ticket.category for ticket in tickets} == set(CATEGORIES)
    assert {ticket.priority for ticket in tickets} == set(PRIORITIES)
    for ticket in tickets[:20]:
        assert json.loads(ticket.answer) == {"category": ticket.category, "priority": ticket.priority}
        assert ticket.product in ticket.text


def test_the_policy_weighs_severity_and_tone_and_stays_on_the_scale() -> None:
    assert POLICY_1.priority("bug", 2, 1) == "urgent"
    assert POLICY_1.priority("bug", 2, -1) == "high"
    assert POLICY_1.priority("bug", 0, -1) == "low"
    assert {POLICY_2.priority("refund", severity, tone) for severity in (0, 1, 2) for tone in (-1, 0, 1)} == {"high"}
    assert POLICY_2.priority("shipping", 2, 1) == "low"
    assert POLICY_2.priority("bug", 1, 0) == POLICY_1.priority("bug", 1, 0)


def test_the_change_touches_two_categories_and_a_quarter_of_the_tickets() -> None:
    tickets = some(3000)
    changed = [ticket for ticket in tickets if WORLD_2.judge(ticket).answer != ticket.answer]
    assert {ticket.category for ticket in changed} == {"refund", "shipping"}
    assert 0.70 <= 1 - len(changed) / len(tickets) <= 0.82


def test_the_renamed_product_is_gone_and_its_new_name_is_here() -> None:
    text = " ".join(t.text for t in itertools.islice(WORLD_2.tickets(random.Random(0)), 500))
    assert "Nimbus Mail" not in text
    assert "Lumen Post" in text


def test_held_pairs_are_two_products_of_each_issue_and_never_known() -> None:
    for issues in ISSUES.values():
        for _, _, about in issues:
            assert sum(is_held(about, product) for product in PRODUCTS) == 2
    assert not any(is_held(t.about, t.product) for t in some(300, pairs="known"))
    assert all(is_held(t.about, t.product) for t in some(300, pairs="held"))
    assert is_held("the crash", "Lumen Post") == is_held("the crash", "Nimbus Mail")


def test_a_conversation_is_the_request_and_its_answer() -> None:
    ticket = some(1)[0]
    assert [m["role"] for m in request(ticket)] == ["system", "user"]
    assert conversation(ticket)[:-1] == request(ticket)
    assert conversation(ticket)[-1]["content"] == ticket.answer
