"""Who may touch what: grants, row-level security, and the helpers that the policies ask.

Deny by default: a table without a policy for a role shows that role nothing, and a table without a grant refuses it.
Row-level security is the second line behind the guards in core; tests/core/test_matrix.py holds both against one table.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

EVERYTHING = {
    "platform": (
        "program", "cohort", "module", "student", "student_profile", "enrollment", "module_progress", "submission",
        "code_review", "result", "certificate", "usage_event", "email_log", "visitor", "visitor_device", "subscription",
        "tombstone", "payment", "group_figure",
    ),
    "privacy": ("guardian", "consent", "request", "policy_version"),
    "staff": ("staff_member", "session", "throttle", "assignment", "file_link", "worker_heartbeat"),
}  # fmt: skip

LEARNING = ("module_progress", "submission", "code_review", "result", "certificate", "usage_event")

SIGNED_IN = "(select staff.my_role()) is not null"
ADMIN = "(select staff.my_role()) = 'admin'"
PROGRAM_STAFF = "(select staff.my_role()) = 'program_staff'"
OFFICER = "(select staff.my_role()) = 'privacy_officer'"
MY_COHORT = "cohort_id = any ((select staff.my_cohorts())::uuid[])"
OPEN_CASE = "id in (select r.{0}_id from privacy.request r where r.closed_at is null)"

READS = {
    "platform.program": SIGNED_IN,
    "platform.cohort": SIGNED_IN,
    "platform.module": SIGNED_IN,
    "platform.group_figure": SIGNED_IN,
    "platform.enrollment": f"{PROGRAM_STAFF} or {MY_COHORT}",
    "platform.student": f"{PROGRAM_STAFF} or exists (select from platform.enrollment e where e.student_id = student.id"
    f" and e.{MY_COHORT}) or ({OFFICER} and {OPEN_CASE.format('student')})",
    "platform.student_profile": f"{PROGRAM_STAFF} or ({OFFICER} and student_{OPEN_CASE.format('student')})",
    "platform.visitor": f"{PROGRAM_STAFF} or ({OFFICER} and {OPEN_CASE.format('visitor')})",
    **{f"platform.{table}": MY_COHORT for table in LEARNING},
    "privacy.request": OFFICER,
    "privacy.policy_version": "true",
    "staff.staff_member": f"({SIGNED_IN} and id = staff.my_id()) or {ADMIN}",
    "staff.session": f"({SIGNED_IN} and staff_id = staff.my_id()) or {ADMIN}",
    "staff.assignment": f"({SIGNED_IN} and staff_id = staff.my_id()) or {ADMIN}",
    "staff.file_link": f"{SIGNED_IN} and session_id = staff.my_session()",
    "staff.worker_heartbeat": SIGNED_IN,
}

COLUMNS = {
    "staff.staff_member": "(id, email, name, role, created_at, disabled_at, demo)",
    "staff.session": "(id, staff_id, started_at, seen_at, expires_at, ended_at, end_reason)",
}

HELPERS = """
create function staff.my_id() returns uuid language sql stable parallel safe set search_path = '' as
$$ select nullif(pg_catalog.current_setting('app.staff_id', true), '')::uuid $$;

create function staff.my_session() returns uuid language sql stable parallel safe set search_path = '' as
$$ select nullif(pg_catalog.current_setting('app.session_id', true), '')::uuid $$;

create function staff.my_role() returns text language sql stable parallel safe security definer set search_path = '' as
$$ select m.role from staff.staff_member m where m.id = staff.my_id() and m.disabled_at is null $$;

create function staff.my_cohorts() returns uuid[] language sql stable parallel safe security definer set search_path = ''
as $$
    select coalesce(pg_catalog.array_agg(distinct a.cohort_id), '{}')
    from staff.assignment a join staff.staff_member m on m.id = a.staff_id
    where a.staff_id = staff.my_id() and m.disabled_at is null and m.role in ('instructor', 'mentor')
      and (pg_catalog.now() at time zone 'UTC')::date between a.starts_on and coalesce(a.ends_on, 'infinity')
$$;
"""


def upgrade() -> None:
    """Apply."""
    for schema in EVERYTHING:
        op.execute(f"grant usage on schema {schema} to resocode_app, resocode_worker")
        op.execute(f"grant usage, create on schema {schema} to resocode_definer, resocode_ledger")
    op.execute("grant usage on schema anon to resocode_analyst, resocode_app, resocode_worker")
    op.execute("grant select on platform.alembic_version to resocode_app, resocode_worker")
    _open_to_definer_and_worker()
    _as_definer(HELPERS)
    _open_to_app()
    _give_audit_away()


def _tables() -> list[str]:
    return [f"{schema}.{table}" for schema, tables in EVERYTHING.items() for table in tables]


def _open_to_definer_and_worker() -> None:
    for table in _tables():
        op.execute(f"alter table {table} enable row level security, force row level security")
        op.execute(f"grant select, insert, update, delete on {table} to resocode_worker")
        op.execute(f"create policy worker on {table} to resocode_worker using (true) with check (true)")
        op.execute(f"grant select on {table} to resocode_definer")
        op.execute(f"create policy definer on {table} to resocode_definer using (true) with check (true)")
    op.execute("revoke update, delete on privacy.policy_version from resocode_worker")
    op.execute("grant insert, update, delete on staff.session, staff.throttle to resocode_definer")


def _open_to_app() -> None:
    for table, rule in READS.items():
        op.execute(f"grant select {COLUMNS.get(table, '')} on {table} to resocode_app")
        op.execute(f"create policy app_reads on {table} for select to resocode_app using ({rule})")
    mine = READS["staff.file_link"]
    op.execute("grant insert, update on staff.file_link to resocode_app")
    op.execute(f"create policy app_adds on staff.file_link for insert to resocode_app with check ({mine})")
    op.execute(f"create policy app_marks on staff.file_link for update to resocode_app using ({mine})")


def _give_audit_away() -> None:
    """The audit belongs to a role that nobody signs in as; it is written through one function (0003)."""
    op.execute("alter table privacy.audit_event enable row level security, force row level security")
    op.execute("grant select on privacy.audit_event to resocode_app, resocode_worker")
    may = "(select staff.my_role()) in ('privacy_officer', 'auditor')"
    op.execute(f"create policy app_reads on privacy.audit_event for select to resocode_app using ({may})")
    op.execute("create policy worker_reads on privacy.audit_event for select to resocode_worker using (true)")
    op.execute("create policy ledger on privacy.audit_event to resocode_ledger using (true) with check (true)")
    op.execute("alter table privacy.audit_event owner to resocode_ledger")


def _as_definer(statements: str) -> None:
    op.execute("set local role resocode_definer")
    op.execute(statements)
    op.execute("reset role")


def downgrade() -> None:
    """There is no way back from the first release but a new database."""
    raise NotImplementedError("Restore a backup instead.")
