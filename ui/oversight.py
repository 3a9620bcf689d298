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
    if found.single_admin:
        reason = f"Declared on {day(found.declared_at)}. Nobody checks grants until there is a second admin."
        items.append((":orange[:material/error:]", "Single-admin mode", reason, STAFF))
    return items + review_needs(found, moment)


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
