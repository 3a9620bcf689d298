"""The canaries: synthetic people who are in every store, and what was seen of them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

STAGES = ("lives", "in grace", "erasing", "gone", "found")
MOST = 20


@dataclass(frozen=True)
class Look:
    """What was seen of a canary in one place, last. ``stage`` "planted": it has to be found; "erased": it must not.

    ``seen`` is "found", "absent" or "unclear"; ``found`` says where and how often, ``looked`` how much was read.
    """

    place: str
    stage: str
    seen: str
    at: datetime
    found: Mapping[str, int]
    looked: Mapping[str, int]
    error: str


@dataclass(frozen=True)
class CanaryRow:
    """One canary. ``stage``: "lives", "in grace" (its account is closed), "erasing", "gone", or "found" (gone, and something is left)."""

    id: uuid.UUID
    week: date
    stage: str
    planted_at: datetime
    closed_at: datetime | None
    gone_at: datetime | None
    request: str
    places: tuple[str, ...]
    looks: tuple[Look, ...]

    @property
    def looked_at(self) -> datetime | None:
        """When somebody looked for it last, once it was gone."""
        return max((look.at for look in self.looks if look.stage == "erased"), default=None)

    @property
    def verdict(self) -> str:
        """What was seen last, in words."""
        gone = [look for look in self.looks if look.stage == "erased"]
        if found := [look for look in gone if look.seen == "found"]:
            return f"found in {', '.join(look.place for look in found)}"
        if unclear := [look for look in gone if look.seen == "unclear"]:
            return f"{', '.join(look.place for look in unclear)} could not be read"
        if gone:
            return f"nothing left in {len(gone)} places"
        planted = [look for look in self.looks if look.stage == "planted" and look.seen == "found"]
        return f"there, in {len(planted)} of {len(self.places)} places" if self.looks else "not looked for yet"


def canaries(session: Session, *, at: datetime) -> tuple[CanaryRow, ...]:
    """Return the newest canaries as they stood at an instant, newest first; none for those who do not oversee promises."""
    rows = session.execute(text(LISTED), {"at": at, "most": MOST}).all()
    looks: dict[uuid.UUID, list[Look]] = {}
    for row in session.execute(text(LOOKS), {"at": at, "ids": [row.id for row in rows]}):
        looks.setdefault(row.canary_id, []).append(
            Look(row.place, row.stage, row.seen, row.at, row.found, row.looked, row.error)
        )
    return tuple(
        CanaryRow(row.id, row.week, _stage(row.stage, looks.get(row.id, [])), row.planted_at, row.closed_at, row.gone_at,
                  row.request, tuple(row.places), tuple(looks.get(row.id, ())))
        for row in rows
    )  # fmt: skip


def _stage(stage: str, looks: list[Look]) -> str:
    return "found" if any(look.stage == "erased" and look.seen == "found" for look in looks) else stage


LISTED = """
    select c.id, c.week, c.planted_at, case when c.closed_at <= :at then c.closed_at end as closed_at,
        case when c.gone_at <= :at then c.gone_at end as gone_at, coalesce(privacy.canary_request(c.id), '') as request,
        case when c.gone_at <= :at then 'gone' when c.closed_at <= :at and privacy.canary_erasing(c.id) then 'erasing'
            when c.closed_at <= :at then 'in grace' else 'lives' end as stage,
        array(select p.place from privacy.canary_place p where p.canary_id = c.id and p.planted_at <= :at order by p.place) as places
    from privacy.canary c where c.planted_at <= :at order by c.week desc limit :most
"""
LOOKS = """
    select distinct on (l.canary_id, l.place, l.stage) l.* from privacy.canary_look l
    where l.canary_id = any(:ids) and l.at <= :at order by l.canary_id, l.place, l.stage, l.at desc
"""
