"""Every processor on: whatever breaks at the wire and whoever dies, nobody is called erased who is still somewhere.

A matrix of kill points × faults (matrix_of_erasures) is played by people who are erased in batches. ``make test-full`` does it for a
thousand, who play every card; the sample below plays more than a hundred of them.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from core import embedded
from tests.core.privacy.crashes import naive
from tests.core.privacy.house_of_erasures import fingerprint
from tests.core.privacy.house_of_requests import rows
from tests.core.privacy.matrix_of_erasures import DECKS, Kept, World, hand, play, world_of
from tests.doubles.platform import user

FULL = os.environ.get("RESOCODE_TEST_FULL") == "1"
BATCHES, AT_ONCE, CARDS = (20, 50, 1) if FULL else (1, 11, 3)


@pytest.fixture
def world(house: str, owner: Connection, cluster: embedded.Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world_of(house, owner, cluster, monkeypatch) as made:
        yield made


@pytest.mark.parametrize("batch", range(BATCHES))
def test_nobody_is_called_erased_who_is_still_somewhere(world: World, batch: int) -> None:
    ben = fingerprint("ben")
    world.pictures.library.put("students/bystander/portrait")
    world.payments.gateway.post("/v1/customers", email="bystander@example.org")
    world.platform.db["users"].insert_one(user("bystander"))
    world.add(AT_ONCE, f"crowd {batch}", first=batch * AT_ONCE, cards=CARDS)
    with Kept() as log:
        assert play(world) == []
    stuck = rows("select r.state, e.waits_for, e.waits_about, s.place, s.state, s.attempts, s.error, s.next_at from privacy.request r"
                 " left join privacy.erasure e on e.request_id = r.id left join privacy.erasure_step s on s.erasure_id = e.id"
                 " and s.state not in ('proven', 'exempt') where r.state <> 'erased' and r.source like 'crowd%'")  # fmt: skip
    assert stuck == [], "every erasure ends once things work again, with what two people do by hand"
    assert len(world.seen) == AT_ONCE and world.left(set(world.people)) == []
    assert world.told() == set(), "a row of a queue names somebody, or holds a secret"
    assert world.named("\n".join(log.words)) == set(), "a log names somebody, or holds a secret"
    assert fingerprint("ben") == ben and world.platform.db["users"].count_documents({}) == 1
    assert (
        "students/bystander/portrait" in world.pictures.library.names() and len(world.payments.gateway.customers()) == 1
    )
    assert world.post.silent == [], "a letter that left twice says so"
    dealt = Counter(card for number in range(AT_ONCE) for card in hand(batch * AT_ONCE + number, CARDS))
    played = world.game.played
    assert played == dealt if FULL else played.total() >= 60, f"what was not played proves nothing: {dealt - played}"
    died = sum((Counter({card.death: many}) for card, many in played.items()), Counter())
    assert world.game.deaths == died and not world.game.armed, "each card that was played has killed"
    print(f"{AT_ONCE} people, {played.total()} cards, {len(world.game.deaths)} ways to die, turns: {world.turns}")


def test_a_thousand_people_play_every_card() -> None:
    played = {card for number in range(1000) for card in hand(number, 1)}
    assert played == {card for deck in DECKS.values() for card in deck}
    assert sum(map(len, DECKS.values())) > 700


def test_the_same_harness_catches_a_naive_eraser(world: World) -> None:
    world.add(4, "crowd n", cards=2)
    false = play(world, naive, at_once=1)
    assert false, "it says of somebody that they are erased, and they are not"
    assert {place for _, left in false for place in left} & {"Cloudinary", "payment gateway", "MongoDB Atlas"}
