"""Every list that pages: what is behind a page follows it without gap or repetition, also among equals, and the last page says so."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from core import db, queries
from core.privacy import audit
from core.queries import AccountFilter, AuditFilter
from core.reads import holds, manual_steps, proof, syncing
from tests.cast import NOW, id_of

pytestmark = pytest.mark.usefixtures("house")
# Two of five each begin at the same moment: the days 1, 1, 2, 2, 3 before NOW.
FIVE = "generate_series(0, 4) n, lateral (select cast(:now as timestamptz) - (1 + n / 2) * interval '1 day' as at) t"
ROWS = {
    "runs": f"""insert into privacy.retention_run (id, rule, begun_at, tried_at, ended_at)
        select gen_random_uuid(), 'visitors', at, at, at from {FIVE}""",
    "misfits": f"""insert into privacy.sync_misfit (id, collection, document, code, found_at, tried_at)
        select gen_random_uuid(), 'users', 's:' || n, 'no email', at, at from {FIVE}""",
    "suppressions": f"""insert into privacy.suppression (id, hash, kind, erasure_id, erased_at, basis, until)
        select gen_random_uuid(), sha256(n::text::bytea), 'e-mail', gen_random_uuid(), at - interval '9 days', 'x', at + interval '900 days' from {FIVE}""",
    "waiting": f"""insert into privacy.quarantine (id, person, email_hash, provider_hash, record, why, erased_at, source, found_at, until)
        select gen_random_uuid(), 'student', sha256(n::text::bytea), '', '{{}}', 'no date', at, 'csv', at, at + interval '90 days' from {FIVE}""",
    "decided": f"""insert into privacy.quarantine (id, person, email_hash, provider_hash, why, erased_at, source, found_at, until, decision, decided_at, decided_by)
        select gen_random_uuid(), 'student', sha256(n::text::bytea), '', 'no date', at, 'csv', at, at + interval '90 days', 'discarded', at, :omar from {FIVE}""",
    "standing": f"""insert into privacy.legal_hold (id, form_key, student_id, basis, owner_id, review_on, placed_at, placed_by)
        select gen_random_uuid(), gen_random_uuid(), :asha, 'tax audit', :omar, at::date, at, :omar from {FIVE}""",
    "released": f"""insert into privacy.legal_hold (id, form_key, student_id, basis, owner_id, review_on, placed_at, placed_by, released_at, released_by, release_reason)
        select gen_random_uuid(), gen_random_uuid(), :asha, 'tax audit', :omar, at::date, at, :omar, at, :omar, 'claim settled' from {FIVE}""",
    "to do": f"""insert into privacy.manual_step (id, key, student_id, processor, what, due_on, made_at)
        select gen_random_uuid(), 'k' || n, :asha, 'accountant', 'erase', at::date, at from {FIVE}""",
    "done": f"""insert into privacy.manual_step (id, key, student_id, processor, what, due_on, made_at, state, attested_at, attested_by, evidence, evidence_sha256,
            confirmed_at, confirmed_by)
        select gen_random_uuid(), 'k' || n, :asha, 'accountant', 'erase', at::date, at, 'confirmed', at, :omar, 'x', '', at, :ada from {FIVE}""",
    "assignments": """insert into staff.assignment (id, staff_id, cohort_id, starts_on, created_at)
        select gen_random_uuid(), :ines, :java, current_date, :now from generate_series(0, 4)""",
    "namesakes": "update staff.staff_member set name = 'Sam' where id in (:ines, :omar, :ada, :marek)",
}  # fmt: skip


def _run_page(session: Session, after: Any, size: int) -> tuple[list[Any], Any]:
    page = queries.retention_runs(session, after=after, size=size)
    return list(page.rows), page.after


def _audit(session: Session, after: Any, size: int) -> tuple[list[Any], Any]:
    page = queries.audit_page(session, AuditFilter(), before=after, size=size)
    return [line.seq for line in page.lines], page.next


def _accounts(session: Session, after: Any, size: int) -> tuple[list[Any], Any]:
    page = queries.account_page(session, AccountFilter(), now=NOW, after=after, limit=size)
    assert page.total == session.scalar(text("select count(*) from staff.staff_member"))
    return [row.id for row in page.rows], page.next


def _assignments(session: Session, after: Any, size: int) -> tuple[list[Any], Any]:
    page = queries.assignment_page(session, now=NOW, after=after, limit=size)
    return [row.id for row in page.rows], page.next


def _of(
    function: Callable[..., Any], *asked: Any, **named: Any
) -> Callable[[Session, Any, int], tuple[list[Any], Any]]:
    def page(session: Session, after: Any, _size: int) -> tuple[list[Any], Any]:
        found = function(session, *asked, after=after, **named)
        rows, more = found if isinstance(found, tuple) else (found.rows, found.after)
        return list(rows), more

    return page


# rows that are written before, who asks, how to ask for a page, the module whose page has another size
LISTS = {
    "retention": ("runs", "omar", _run_page, None),
    "audit": ("", "aiko", _audit, None),
    "misfits": ("misfits", "ada", _of(queries.misfit_page), syncing),
    "suppression list": ("suppressions", "omar", _of(queries.suppression_entries), proof),
    "quarantine": ("waiting", "omar", _of(queries.set_aside_page, "waiting"), proof),
    "decided about": ("decided", "omar", _of(queries.set_aside_page, "decided"), proof),
    "holds": ("standing", "omar", _of(queries.hold_page, standing=True), holds),
    "released holds": ("released", "omar", _of(queries.hold_page, standing=False), holds),
    "steps to do": ("to do", "omar", _of(queries.step_page, "to do"), manual_steps),
    "steps done": ("done", "omar", _of(queries.step_page, "done"), manual_steps),
    "accounts": ("namesakes", "ada", _accounts, None),
    "assignments": ("assignments", "ada", _assignments, None),
}


@pytest.mark.parametrize("name", LISTS)
def test_pages_follow_each_other(name: str, owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, who, page, module = LISTS[name]
    people = {each: id_of(each) for each in ("omar", "ada", "ines", "marek", "asha", "java")}
    owner.execute(text("alter table privacy.manual_step disable trigger user"))  # two officers would have to do each
    owner.commit()
    with db.transaction("worker") as session:
        if rows:
            asked = {key: value for key, value in {"now": NOW, **people}.items() if f":{key}" in ROWS[rows]}
            session.execute(text(ROWS[rows]), asked)
        else:
            for number in range(5):
                audit.append(
                    session, audit.Action.REFUSED, now=NOW + timedelta(seconds=number), what="page", role="mentor"
                )

    def listed(size: int) -> list[list[Any]]:
        found: list[list[Any]] = []
        after: Any = None
        if module:
            monkeypatch.setattr(module, "PAGE_SIZE", size)
        with db.transaction(staff_id=id_of(who), session_id=uuid.uuid4()) as session:
            while after is not None or not found:
                some, after = page(session, after, size)
                found.append(some)
                assert len(found) < 99, "it never ends"
        return found

    (everything,) = listed(100)
    many = len(everything)
    assert many >= 5
    for size in (1, 2, many - 1, many, many + 1):
        found = listed(size)
        assert [row for part in found for row in part] == everything, size
        assert [len(part) for part in found] == [size] * (many // size) + [many % size] * bool(many % size), size
