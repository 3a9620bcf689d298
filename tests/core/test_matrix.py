"""Role × table, directly against the database as the app role: what a role may see, and nothing more.

The guards in Python play no part here: this is what remains when they are switched off. One table is the truth; it is
compared with what the cast's rows show to each role, so a missing policy and a policy too many both turn it red.
"""

import uuid
from contextlib import nullcontext

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from core import db
from core.models.base import Base
from tests import cast
from tests.cast import ROLES, STUDENTS, id_of

pytestmark = pytest.mark.usefixtures("house")

LEARNING = (
    "module_progress",
    "submission",
    "code_review",
    "result",
    "certificate",
    "usage_event",
    "help_note",
    "review_claim",
)
EVERYONE = frozenset(ROLES)
ASSIGNED = {"ines": {"asha"}, "marek": {"ben"}}
ALL_STUDENTS = {"paula": set(STUDENTS)}

# For each table with rows about students: whose rows each member of staff sees. Nobody else sees any.
STUDENT_ROWS: dict[str, dict[str, set[str]]] = {
    "platform.student": {**ALL_STUDENTS, **ASSIGNED, "omar": {"asha"}},
    "platform.student_profile": {**ALL_STUDENTS, "omar": {"asha"}},
    "platform.enrollment": {**ALL_STUDENTS, **ASSIGNED},
    **{f"platform.{table}": ASSIGNED for table in LEARNING},
    "platform.email_log": {},
    "platform.held_mail": {},
    "platform.subscription": {},
    "platform.payment": {},
    "platform.analytics_contribution": {},
    "privacy.guardian": {},
    "privacy.consent": {
        "omar": set(STUDENTS)
    },  # a yes and no date; the case behind it: tests/core/privacy/test_consent.py
}
TRANSITIONS = 7 * 13 + 16
CONSENT_MOVES = 41
# For the others: who sees how many rows of the cast.
OTHER_ROWS: dict[str, dict[str, int]] = {
    "platform.program": dict.fromkeys(EVERYONE, 3),
    "platform.cohort": dict.fromkeys(EVERYONE, 3),
    "platform.module": dict.fromkeys(EVERYONE, 3),
    "platform.group_figure": dict.fromkeys(EVERYONE, 13),
    "platform.rollup": {},
    "platform.rollup_change": {},
    "platform.help_limit": {"ines": 1, "marek": 1},
    "platform.visitor": {"paula": 2},
    "platform.visitor_device": {},
    "platform.follow_up": {"paula": 1},
    "platform.tombstone": {},
    "privacy.request": {"omar": 2},
    "privacy.request_clock": {"omar": 2},
    **{
        f"privacy.{table}": {}
        for table in (
            "request_move",
            "request_text",
            "deletion_plan",
            "plan_view",
            "approval",
            "propagation",
            "letter_template",
            "outbox",
            "declaration",
        )
    },
    "privacy.canary": {},
    "privacy.canary_place": {},
    "privacy.canary_look": {},
    "privacy.policy_proposal": {},
    "privacy.incident": {},
    "privacy.incident_note": {},
    "privacy.incident_person": {},
    "privacy.campaign": {},
    "privacy.campaign_recipient": {},
    "privacy.mail_pace": {"omar": 1, "ada": 1, "aiko": 1},
    "privacy.mail_lane": {},
    "privacy.consent_move": {"omar": CONSENT_MOVES},
    "privacy.consent_step": {},
    "privacy.consent_round": {},
    "privacy.retention_run": {},
    "privacy.lapse": {},
    "privacy.legal_hold": {},
    "privacy.manual_step": {},
    "privacy.erasure": {},
    "privacy.erasure_step": {},
    "privacy.erasure_evidence": {},
    "privacy.past_erasure": {},
    "privacy.brake": {},
    "privacy.artifact": {},
    "privacy.artifact_part": {},
    "privacy.export": {},
    "privacy.export_text": {},
    "privacy.restriction": {},
    "privacy.objection": {},
    "privacy.opt_out": {},
    "privacy.correction": {},
    "privacy.processor_record": {},
    "privacy.processor_health": {},
    "privacy.suppression": {},
    "privacy.quarantine": {},
    "privacy.erasure_finding": {},
    "privacy.erasure_certificate": {},
    "privacy.backup": {},
    "privacy.sync_collection": {},
    "privacy.sync_misfit": {},
    "privacy.sync_gap": {},
    "privacy.sync_erasure": {},
    **{
        f"privacy.{table}": {}
        for table in ("check_run", "promise_state", "promise_check", "attestation", "promise_alert", "sample_draw")
    },
    "privacy.transition": dict.fromkeys(EVERYONE, TRANSITIONS),
    "privacy.policy_version": dict.fromkeys(EVERYONE, 1),
    "privacy.audit_event": {},
    "privacy.audit_check": dict.fromkeys(EVERYONE, 1),
    "privacy.audit_seal": {},
    "staff.staff_member": {**dict.fromkeys(EVERYONE, 1), "ada": len(cast.STAFF)},
    "staff.session": {},
    "staff.assignment": {"ines": 2, "marek": 1, "ada": 4},
    "staff.throttle": {},
    "staff.invitation": {},
    "staff.proposal": {},
    "staff.declared_mode": {},
    "staff.access_review": {},
    "staff.access_review_item": {},
    "staff.file_link": {},
    "staff.worker_heartbeat": {},
    "staff.job": {},
    "anon.method": dict.fromkeys(EVERYONE, 1),
    "anon.release": dict.fromkeys(EVERYONE, len(cast.RELEASES)),
    "anon.ledger": dict.fromkeys(EVERYONE, len(cast.RELEASES)),
    "anon.cell": dict.fromkeys(EVERYONE, sum(len(cells) for told in cast.RELEASES.values() for cells in told.values())),
}
KEY = {"privacy.canary_place": "canary_id", "privacy.mail_lane": "lane", "privacy.incident_person": "incident_id", "privacy.export": "request_id", "privacy.promise_state": "promise", "privacy.artifact_part": "artifact_id", "platform.help_limit": "cohort_id", "platform.review_claim": "submission_id", "platform.student": "id", "platform.result": "enrollment_id", "privacy.consent": "student_id", "privacy.policy_version": "version",
       "privacy.audit_event": "seq", "privacy.audit_check": "checked_at", "staff.throttle": "name_hash", "staff.file_link": "token_hash", "staff.worker_heartbeat": "worker",
       "platform.student_profile": "student_id", "platform.visitor_device": "visitor_id", "privacy.transition": "kind",
       "privacy.letter_template": "kind", "privacy.processor_health": "name", "privacy.sync_collection": "collection", "privacy.sync_gap": "collection", "privacy.sync_erasure": "document",
       "privacy.consent_move": "from_state",
       "platform.analytics_contribution": "student_id", "anon.method": "version", "anon.cell": "release_id", "anon.ledger": "seq"}  # fmt: skip


def visible(table: str, staff: str | None) -> list[object]:
    """The keys of the rows that a member of staff sees with bare SQL as the app role."""
    with db.transaction(staff_id=id_of(staff) if staff else None) as session:
        try:
            return list(session.scalars(text(f"select {KEY.get(table, 'id')} from {table}")))
        except ProgrammingError as error:
            assert "permission denied" in str(error)
            return []


def student_of(table: str, key: object) -> str:
    """Whose row it is."""
    names = {
        "module_progress": "progress",
        "code_review": "review",
        "email_log": "mail",
        "usage_event": "usage",
        "help_note": "note",
        "review_claim": "submission",
    }
    kind = table.split(".")[1]
    for name in STUDENTS:
        known = {id_of(name), id_of(f"{name} enrollment"), id_of(f"{name} {names.get(kind, kind)}")}
        if key in known:
            return name
    raise AssertionError(f"{table} {key}")


def test_the_matrix_names_every_table() -> None:
    assert set(STUDENT_ROWS) | set(OTHER_ROWS) == set(Base.metadata.tables)


@pytest.mark.parametrize("staff", [*ROLES, "dora", None])
def test_each_role_sees_its_rows_and_no_other(staff: str | None) -> None:
    for table, rule in STUDENT_ROWS.items():
        seen = {student_of(table, key) for key in visible(table, staff)}
        assert seen == rule.get(staff or "", set()), f"{staff} sees {seen} in {table}"
    for table, counts in OTHER_ROWS.items():
        expected = counts.get(staff or "", 0) if staff != "dora" else 0
        if table == "privacy.policy_version":
            expected = 1
        assert len(visible(table, staff)) == expected, f"{staff} in {table}"


def test_a_closed_account_closes_its_learning_data_to_those_who_teach(owner: Connection) -> None:
    owner.execute(
        text("update platform.student set account_status = 'closed', closed_at = now() where id = :a"),
        {"a": id_of("asha")},
    )
    owner.commit()
    for table, rule in STUDENT_ROWS.items():
        for staff in ("ines", "marek", "paula"):
            expected = rule.get(staff, set()) - ({"asha"} if staff == "ines" else set())
            assert {student_of(table, key) for key in visible(table, staff)} == expected, f"{staff} in {table}"
    note = "insert into platform.help_note (id, enrollment_id, cohort_id, note, written_by, written_at)"
    for name, closed in (("asha", True), ("ben", False)):
        teacher = "ines" if closed else "marek"
        values = {"e": id_of(f"{name} enrollment"), "c": id_of("python" if closed else "cloud"), "i": id_of(teacher)}
        with (
            nullcontext() if not closed else pytest.raises(ProgrammingError, match="row-level security"),
            db.transaction(staff_id=id_of(teacher)) as session,
        ):
            session.execute(text(f"{note} values (gen_random_uuid(), :e, :c, '', :i, now())"), values)


def test_an_unknown_staff_id_sees_nothing() -> None:
    for table in [*STUDENT_ROWS, *OTHER_ROWS]:
        if table != "privacy.policy_version":
            with db.transaction(staff_id=uuid.uuid4()) as session:
                try:
                    assert not session.execute(text(f"select {KEY.get(table, 'id')} from {table}")).all(), table
                except ProgrammingError as error:
                    assert "permission denied" in str(error)


def test_who_asked_does_not_leak_into_the_next_transaction() -> None:
    for _ in range(50):
        assert visible("platform.student", "paula")
        assert not visible("platform.student", None)


@pytest.mark.parametrize("table", sorted(Base.metadata.tables))
def test_the_app_role_changes_nothing_directly(table: str) -> None:
    allowed = {
        "platform.follow_up": {"insert"},  # for program staff, tests/core/privacy/test_visitors.py
        "staff.file_link": {"insert", "update"},  # the others: for privacy officers, tests/core/privacy/test_request_rights.py
        **{f"privacy.{table}": {"insert"} for table in (
            "request_clock", "request_text", "deletion_plan", "plan_view", "approval", "letter_template", "propagation", "outbox")},
        # by column and within the own cohorts: tests/core/privacy/test_learning.py
        "platform.help_note": {"insert"},
        "platform.help_limit": {"insert"},
        "platform.review_claim": {"insert"},
        "privacy.incident": {"insert"},  # by column, held by a trigger: test_incidents.py
        "privacy.incident_note": {"insert"},
        "privacy.campaign": {"insert"},  # by column, for those who tell people: test_campaigns.py
        # for privacy officers, held by triggers: test_holds.py, test_manual_steps.py
        "privacy.legal_hold": {"insert"},
        "privacy.guardian": {"insert"},  # by column, of cases, in one's own name: test_consent.py
        "privacy.consent_round": {"insert"},
        "privacy.manual_step": {"insert"},
        "privacy.artifact": {"insert"},  # evidence, for privacy officers: test_artifacts.py
        "privacy.artifact_part": {"insert"},
        **{f"privacy.{table}": {"insert"} for table in ("restriction", "objection", "opt_out")},  # test_standing.py
        "privacy.check_run": {"insert"},  # an order, and an attestation in one's own name: test_promises.py
        "privacy.attestation": {"insert"},
        **{f"privacy.{table}": {"insert"} for table in ("restriction", "objection", "opt_out", "correction")},  # test_standing.py
        "privacy.audit_seal": {"insert"},  # a break that the newest check found, in one's own name: test_audit_seals.py
        "privacy.processor_record": {"insert"},  # for admins, in their own name: test_register.py
    }  # fmt: skip
    statements = {
        "insert": f"insert into {table} default values",
        "update": f"update {table} set {KEY.get(table, 'id')} = {KEY.get(table, 'id')}",
        "delete": f"delete from {table}",
        "truncate": f"truncate {table}",
    }
    for verb, statement in statements.items():
        if verb in allowed.get(table, set()):
            continue
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            db.transaction(staff_id=id_of("ada")) as session,
        ):
            session.execute(text(statement))


def test_partitions_cannot_be_reached_around_their_parent() -> None:
    with db.transaction("worker") as session:
        parts = session.scalars(text("select inhrelid::regclass::text from pg_inherits where inhparent in"
                                     " ('platform.email_log'::regclass, 'platform.usage_event'::regclass)")).all()  # fmt: skip
    assert len(parts) > 8
    for part in parts:
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            db.transaction(staff_id=id_of("ines")) as session,
        ):
            session.execute(text(f"select count(*) from {part}"))


def test_every_table_forces_row_security_and_nobody_is_unbound() -> None:
    with db.transaction("worker") as session:
        lax = session.scalars(text(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname in ('platform', 'privacy', 'staff', 'anon') and c.relkind in ('r', 'p') and not c.relispartition"
            " and c.relname <> 'alembic_version' and not (c.relrowsecurity and c.relforcerowsecurity)"
        )).all()  # fmt: skip
        unbound = session.scalars(
            text("select rolname from pg_roles where rolname like 'resocode%' and (rolsuper or rolbypassrls)")
        ).all()
    assert lax == []
    assert unbound == []


def test_definer_functions_pin_their_search_path_and_are_closed_to_public() -> None:
    with db.transaction("worker") as session:
        loose = session.scalars(text(
            "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " where n.nspname in ('platform', 'privacy', 'staff') and p.prosecdef and (p.proconfig is null"
            " or not exists (select from unnest(p.proconfig) c where c like 'search_path=%'))"
        )).all()  # fmt: skip
        public = session.scalars(text(
            "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " where n.nspname in ('platform', 'privacy', 'staff') and p.prosecdef"
            " and has_function_privilege('resocode_analyst', p.oid, 'execute')"
        )).all()  # fmt: skip
    assert loose == []
    assert public == []


@pytest.mark.parametrize(
    ("staff", "students"),
    [
        ("paula", {"asha", "ben", "cleo"}),
        ("ines", {"asha"}),
        ("marek", {"ben"}),
        ("omar", set()),
        ("ada", set()),
        ("aiko", set()),
        ("dora", set()),
    ],
)
def test_search_proposes_only_what_the_role_may_see(staff: str, students: set[str]) -> None:
    call = "select id from platform.find_enrollments(:q, null, null, null, null, false, null, null, 'newest', null, null, 50)"
    with db.transaction(staff_id=id_of(staff)) as session:
        for search in (None, "example"):
            found = set(session.scalars(text(call), {"q": search}))
            assert found == {id_of(f"{name} enrollment") for name in students}
        count = "select platform.count_enrollments(null, null, null, null, null, false, null, null, 100)"
        assert session.scalar(text(count)) == len(students)


@pytest.mark.parametrize(
    ("staff", "enrollments", "visitors"),
    [("paula", 3, 2), ("ada", 3, 2), ("ines", 1, 0), ("omar", 0, 0), ("aiko", 0, 0), ("dora", 0, 0)],
)
def test_counts_go_to_those_who_may_count(staff: str, enrollments: int, visitors: int) -> None:
    with db.transaction(staff_id=id_of(staff)) as session:
        told = "select coalesce(sum(enrollments), 0) from platform.enrollment_{}"
        calls = ("counts(null, null, null, null)", "trend(null, null, null, null, 5)")
        counted, by_month = (session.scalar(text(told.format(each))) for each in calls)
        asked = session.scalar(text("select platform.visitor_count(null, null, null)"))
    assert (counted, by_month, asked) == (enrollments, enrollments, visitors)


@pytest.mark.parametrize(
    ("staff", "allowed"),
    [("omar", True), ("ada", True), ("aiko", True), ("paula", False), ("ines", False), ("dora", False)],
)
def test_promise_counts_go_to_officers_admins_and_auditors(staff: str, allowed: bool) -> None:
    with db.transaction(staff_id=id_of(staff)) as session:
        rows = session.execute(text("select * from privacy.promise_counts(now(), 90, 30)")).all()
    assert len(rows) == allowed


def test_the_analyst_reads_nothing_but_releases(cluster: object, house: str) -> None:
    import psycopg

    from tests.conftest import PASSWORD

    address = {"host": str(cluster.socket_directory), "port": cluster.port, "dbname": house}  # type: ignore[attr-defined]
    with psycopg.connect(**address, user="resocode_analyst", password=PASSWORD, autocommit=True) as analyst:
        for table in Base.metadata.tables:
            if table.startswith("anon."):
                assert analyst.execute(f"select count(*) from {table}").fetchone() != (0,)
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(f"select count(*) from {table}")
