"""What Today says of grants and of the access review."""

from datetime import datetime

from core.queries import Oversight
from ui.tables import day

Link = tuple[str, dict[str, str]]
STAFF: Link = ("staff", {})
REVIEW: Link = ("access_review", {})
SOON_DAYS = 14
Need = tuple[str, str, str, Link | None]


def needs(found: Oversight, moment: datetime) -> list[Need]:
    """Return what needs an admin, as items of Today: grants that wait, the declared mode, the access review."""
    items: list[Need] = []
    if found.proposals:
        thing = "1 grant waits" if found.proposals == 1 else f"{found.proposals} grants wait"
        items.append(
            (":violet[:material/group:]", f"{thing} for a second admin", "New accounts, roles and resets.", STAFF)
        )
    return [*items, *mode(found, STAFF), *review_needs(found, moment)]


def mode(found: Oversight, link: Link | None = None) -> list[Need]:
    """Return the declared single-admin mode as an item, for everybody who oversees."""
    if not found.single_admin:
        return []
    reason = f"Declared on {day(found.declared_at)}. Nobody checks grants until there is a second admin."
    if found.reviews_alone:
        reason += " There is no privacy officer either: the admin confirms their own rights in the access review."
    return [(":orange[:material/error:]", "Single-admin mode", reason, link)]


def told(found: Oversight, moment: datetime) -> list[Need]:
    """Return how rights are watched, good or bad, as items without a way on: what an auditor asks."""
    two = (":green[:material/check_circle:]", "Grants take two admins", "New accounts, roles and resets wait for a second admin.", None)  # fmt: skip
    items: list[Need] = mode(found) or [two]
    for icon, thing, reason, _ in review_needs(found, moment):
        items.append((icon, thing, reason, None))
    if found.reviewed_at:
        alone = f" {found.confirmed_alone} rights were confirmed by their own holder." if found.confirmed_alone else ""
        done = f"The last access review was finished on {day(found.reviewed_at)}"
        items.append((":green[:material/fact_check:]", done, f"Every right was confirmed or removed.{alone}", None))
    return items


def review_needs(found: Oversight, moment: datetime) -> list[Need]:
    """Return what the access review needs: it was never done, is due soon, or is overdue."""
    if found.review_due is None:
        return [
            (
                ":orange[:material/fact_check:]",
                "There has been no access review yet",
                "One is due every quarter.",
                REVIEW,
            )
        ]
    days = (found.review_due - moment.date()).days
    left = (
        f"{found.review_left} rights to decide."
        if found.review_open
        else "Start one: every right is confirmed or removed."
    )
    if days < 0:
        late = "1 day" if days == -1 else f"{-days} days"
        return [(":red[:material/warning:]", f"The access review is overdue by {late}", left, REVIEW)]
    if found.review_open or days <= SOON_DAYS:
        when = "today" if days == 0 else f"by {day(found.review_due)}"
        return [(":orange[:material/fact_check:]", f"The access review has to be finished {when}", left, REVIEW)]
    return []
