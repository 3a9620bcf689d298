"""What the tests of requests share: staff who act with a real session, short ways along a request, and what was recorded."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from core import db, privacy_actions
from core.models.staff import StaffSession
from core.privacy import exports
from core.privacy_actions import Filed, Receipt, Staff
from tests.cast import NOW, STAFF, email_of, id_of

HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)


def staff(name: str, *, now: datetime = NOW) -> Staff:
    """A member of the cast with a session of their own, who has just proved who they are."""
    session_id = uuid.uuid4()
    with db.transaction("worker") as session:
        session.execute(insert(StaffSession).values(
            id=session_id, staff_id=id_of(name), token_hash=session_id.bytes, started_at=now, confirmed_at=now, seen_at=now,
            expires_at=now + timedelta(days=3650)))  # fmt: skip
        role = session.scalar(text("select role from staff.staff_member where id = :id"), {"id": id_of(name)})
    return Staff(session_id, id_of(name), name.title(), email_of(name), role or STAFF[name], False, None, now,
                 now + timedelta(days=3650), now, True)  # fmt: skip


def act(verb: str, by: Staff | str, *, now: datetime = NOW, **arguments: Any) -> Any:
    """Run a verb as a page does: in one transaction of the app role."""
    who = staff(by, now=now) if isinstance(by, str) else by
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        return getattr(privacy_actions, verb)(session, by=who, now=now, **arguments)


def file(kind: str = "delete", *, by: Staff | str = "paula", now: datetime = NOW, **more: Any) -> Filed:
    """File a request about Cleo, unless ``more`` says otherwise."""
    given: dict[str, Any] = {"received_at": now, "form_key": uuid.uuid4()}
    if not {"student_id", "visitor_id", "email", "name", "words"} & set(more):
        given["student_id"] = id_of("cleo")
    return act("file_request", by, now=now, kind=kind, **(given | more))


def on(receipt: Receipt | Filed | uuid.UUID) -> dict[str, Any]:
    """The request id and version that the next verb takes."""
    request = row(receipt if isinstance(receipt, uuid.UUID) else receipt.request_id)
    return {"request_id": request["id"], "version": request["version"]}


def row(request_id: uuid.UUID) -> dict[str, Any]:
    """A request as it stands."""
    with db.transaction("worker") as session:
        found = session.execute(text("select * from privacy.request where id = :id"), {"id": request_id}).one()
        return dict(found._mapping)


def rows(query: str, **values: Any) -> list[Any]:
    """Rows, as the worker sees them."""
    with db.transaction("worker") as session:
        return [tuple(each) for each in session.execute(text(query), values)]


def lines(request_id: uuid.UUID | None = None) -> list[str]:
    """The audit lines about a request (or all of them), in order."""
    where = "where subject_id = :id" if request_id else ""
    return [each[0] for each in rows(f"select action from privacy.audit_event {where} order by seq", id=request_id)]


def verified(kind: str = "delete", *, by: Staff | str = "omar", now: datetime = NOW, **more: Any) -> Filed:
    """A request whose person is confirmed."""
    filed = file(kind, now=now, **more)
    act("record_identity", by, now=now, method="known in person", confirmed=True, **on(filed))
    return filed


def no_file(filed: Filed) -> Filed:
    """The same request, whose file the worker could not make: it may be answered by hand."""
    with db.transaction("worker") as session:
        exports.note_failure(session, str(filed.request_id), "F-0000 Error", NOW)
    return filed


def closed(*, by: Staff | str = "omar", now: datetime = NOW, **more: Any) -> Filed:
    """A deletion whose account is closed, and whose plan waits for approval."""
    filed = verified(by=by, now=now, **more)
    act("close_account", by, now=now, **on(filed))
    return filed


def approve(filed: Filed, by: Staff | str = "olga", *, now: datetime = NOW, **more: Any) -> Receipt:
    """Open the plan and approve it."""
    shown = act("open_plan", by, now=now, request_id=filed.request_id)
    given = (
        {"fingerprint": shown.fingerprint, "confirmation": filed.number, "reason": "plan is right"} | on(filed) | more
    )
    return act("approve_deletion", by, now=now, **given)


def waiting(**more: Any) -> Filed:
    """A deletion that is approved and waits for the end of the grace period."""
    filed = closed(**more)
    approve(filed, now=more.get("now", NOW))
    return filed
