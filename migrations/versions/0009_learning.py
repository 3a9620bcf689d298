"""Who needs help, who takes a review, who looked: three tables, group figures of several kinds, and their functions.

Group figures of the older form are dropped: what they counted was not kept, so the next week's figure could be told apart
from theirs by one person. The worker writes new ones within the week.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UUID = postgresql.UUID(as_uuid=True)
MY_COHORT = "cohort_id = any ((select staff.my_cohorts())::uuid[])"
ME = "(select staff.my_id())"
LIMITS = {"quiet_days": 60, "behind_modules": 50, "failed_times": 20, "waiting_days": 60, "clicks_percent": 100}

# What the policies ask on every read, once per table. As PL/pgSQL: before version 18 PostgreSQL plans a function written in
# SQL anew at each of these calls, five times the cost (measured on 15: 0.22 against 0.04 ms).
WHO_ASKS = """
create or replace function staff.my_role() returns text
language plpgsql stable parallel safe security definer set search_path = '' as $$
begin
    return (select m.role from staff.staff_member m where m.id = staff.my_id() and m.disabled_at is null);
end $$;

create or replace function staff.my_cohorts() returns uuid[]
language plpgsql stable parallel safe security definer set search_path = '' as $$
begin
    return (
        select coalesce(pg_catalog.array_agg(distinct a.cohort_id), '{}')
        from staff.assignment a join staff.staff_member m on m.id = a.staff_id
        where a.staff_id = staff.my_id() and m.disabled_at is null and m.role in ('instructor', 'mentor')
          and (pg_catalog.now() at time zone 'UTC')::date between a.starts_on and coalesce(a.ends_on, 'infinity')
    );
end $$;
"""

NAMES = """
-- The names of those who teach with me (now or before), so that a note or a review says whose it is.
create function staff.colleagues() returns table (id uuid, name text)
language sql stable security definer set search_path = '' as $$
    select m.id, m.name from staff.staff_member m
    where (m.id = staff.my_id() and staff.my_role() is not null)
       or m.id in (select a.staff_id from staff.assignment a where a.cohort_id = any ((select staff.my_cohorts())::uuid[]))
$$;
"""

YEAR_BEFORE = """
-- How far the same program's cohort of a year ago was on the same day: by module, of those who stayed until its end.
-- Exact for those who are assigned to it too. Everybody else gets groups: at least ten people, and whole tens of them, so
-- that two days or two modules never differ by fewer than ten. Only an ended cohort is told: its people change no more.
create function platform.year_before(p_cohort uuid, p_now timestamptz)
returns table (title text, starts_on date, exact boolean, members int, "position" int, done int)
language sql stable security definer set search_path = '' as $$
    with mine as (
        select c.id, c.program_id, c.starts_on, least((p_now at time zone 'UTC')::date, c.ends_on) - c.starts_on as day
        from platform.cohort c where c.id = p_cohort and c.id = any ((select staff.my_cohorts())::uuid[])
    ), earlier as (
        select b.id, b.title, b.starts_on, b.program_id, b.id = any ((select staff.my_cohorts())::uuid[]) as exact,
            (b.starts_on + m.day + 1)::timestamp at time zone 'UTC' as until
        from mine m join platform.cohort b on b.program_id = m.program_id and b.id <> m.id
        where b.starts_on between m.starts_on - 485 and m.starts_on - 245 and b.ends_on < (p_now at time zone 'UTC')::date
        order by abs(m.starts_on - 365 - b.starts_on), b.id limit 1
    ), people as (
        select e.id from platform.enrollment e where e.cohort_id = (select b.id from earlier b) and e.status <> 'withdrawn'
    ), counted as (
        select p.module_id, count(*)::int as done from platform.module_progress p
        where p.enrollment_id in (select i.id from people i) and p.status = 'done'
          and coalesce(p.done_at, p.active_at, p.started_at) < (select b.until from earlier b)
        group by 1
    ), whole as (select count(*)::int as members from people)
    select b.title, b.starts_on, b.exact, w.members, m.position::int,
        case when b.exact then coalesce(c.done, 0) else coalesce(c.done, 0) / 10 * 10 end
    from earlier b cross join whole w
    join platform.module m on m.cohort_id = b.id or (m.cohort_id is null and m.program_id = b.program_id)
    left join counted c on c.module_id = m.id
    where b.exact or w.members >= 10
    order by m.position
$$;
"""

WHO_LOOKED = """
-- Who saw the record of a student, newest first: for a privacy officer with an open request of this student.
-- A cohort's progress shows all who were enrolled in it at that time.
create function privacy.who_looked(p_student uuid, p_before bigint, p_limit int)
returns table (seq bigint, at timestamptz, name text, role text, action text, purpose text, cohort text)
language sql stable security definer set search_path = '' as $$
    with seen as (
        (select v.* from privacy.audit_event v where v.subject_id = p_student and v.subject_kind = 'student'
            and v.action in ('person viewed', 'refused') and v.seq < p_before order by v.seq desc limit p_limit)
        union all
        (select v.* from platform.enrollment e join privacy.audit_event v on v.subject_id = e.cohort_id and v.at >= e.enrolled_at
         where e.student_id = p_student and v.action = 'cohort viewed' and v.seq < p_before order by v.seq desc limit p_limit)
    )
    select v.seq, v.at, coalesce(m.name, v.actor), coalesce(v.details::jsonb ->> 'role', m.role), v.action,
        coalesce(v.details::jsonb ->> 'purpose', v.details::jsonb ->> 'what'), c.title
    from seen v left join staff.staff_member m on m.id = v.actor_id
    left join platform.cohort c on v.action = 'cohort viewed' and c.id = v.subject_id
    where (select staff.my_role()) = 'privacy_officer'
      and exists (select from privacy.request r where r.student_id = p_student and r.closed_at is null)
    order by v.seq desc limit p_limit
$$;
"""

RECORDED = """
-- Whether this session left the same line within the last 15 minutes (one is enough then).
create function privacy.line_is_recorded(p_action text, p_subject uuid, p_details text, p_now timestamptz) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (select from privacy.audit_event a where a.subject_id = p_subject and a.session_id = staff.my_session()
        and a.action = p_action and a.details = p_details and a.at > p_now - interval '15 minutes')
$$;
"""


def upgrade() -> None:
    """Apply."""
    _help_note()
    _help_limit()
    _review_claim()
    op.create_index(
        "ix_submission_failed",
        "submission",
        ["cohort_id", "enrollment_id", "module_id"],
        schema="platform",
        postgresql_where=sa.text("status = 'failed'"),
    )
    _group_figures()
    _rights()
    rights.functions(WHO_ASKS, {})
    rights.functions(NAMES, {"staff.colleagues()": "resocode_app"})
    rights.functions(YEAR_BEFORE, {"platform.year_before(uuid, timestamptz)": "resocode_app"})
    rights.functions(
        RECORDED,
        {"privacy.line_is_recorded(text, uuid, text, timestamptz)": "resocode_app"},
        owner="resocode_ledger",
    )
    op.execute("set local role resocode_ledger")
    op.execute("grant select on privacy.audit_event to resocode_definer")
    op.execute("create policy definer_reads_views on privacy.audit_event for select to resocode_definer using (true)")
    op.execute("reset role")
    rights.functions(WHO_LOOKED, {"privacy.who_looked(uuid, bigint, int)": "resocode_app"})


def _of_enrollment(table: str) -> list[sa.Constraint]:
    name = f"fk_{table}_enrollment_id_cohort_id"
    target = ["platform.enrollment.id", "platform.enrollment.cohort_id"]
    return [sa.ForeignKeyConstraint(["enrollment_id", "cohort_id"], target, name=op.f(name))]


def _staff(table: str, column: str) -> sa.Constraint:
    return sa.ForeignKeyConstraint([column], ["staff.staff_member.id"], name=op.f(f"fk_{table}_{column}"))


def _index(table: str, column: str) -> None:
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column], schema="platform")


def _help_note() -> None:
    op.create_table(
        "help_note",
        sa.Column("id", UUID, nullable=False),
        sa.Column("enrollment_id", UUID, nullable=False),
        sa.Column("cohort_id", UUID, nullable=False),
        sa.Column("handled_until", sa.Date(), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("written_by", UUID, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("char_length(note) <= 500", name=op.f("ck_help_note_short")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_help_note")),
        *_of_enrollment("help_note"),
        _staff("help_note", "written_by"),
        schema="platform",
    )
    newest = ["enrollment_id", sa.text("written_at desc"), sa.text("id desc")]
    op.create_index("ix_help_note_enrollment", "help_note", newest, schema="platform")
    _index("help_note", "cohort_id")
    _index("help_note", "written_by")


def _help_limit() -> None:
    op.create_table(
        "help_limit",
        sa.Column("cohort_id", UUID, nullable=False),
        *(sa.Column(name, sa.SmallInteger(), nullable=False) for name in LIMITS),
        sa.Column("changed_by", UUID, nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.CheckConstraint(f"{name} between 0 and {most}", name=op.f(f"ck_help_limit_{name}_range"))
            for name, most in LIMITS.items()
        ),
        sa.PrimaryKeyConstraint("cohort_id", name=op.f("pk_help_limit")),
        sa.ForeignKeyConstraint(["cohort_id"], ["platform.cohort.id"], name=op.f("fk_help_limit_cohort_id")),
        _staff("help_limit", "changed_by"),
        schema="platform",
    )
    _index("help_limit", "changed_by")


def _review_claim() -> None:
    op.create_table(
        "review_claim",
        sa.Column("submission_id", UUID, nullable=False),
        sa.Column("enrollment_id", UUID, nullable=False),
        sa.Column("cohort_id", UUID, nullable=False),
        sa.Column("staff_id", UUID, nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_review_claim")),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["platform.submission.id"], name=op.f("fk_review_claim_submission_id")
        ),
        *_of_enrollment("review_claim"),
        _staff("review_claim", "staff_id"),
        schema="platform",
    )
    for column in ("enrollment_id", "cohort_id", "staff_id"):
        _index("review_claim", column)


def _group_figures() -> None:
    op.execute("truncate platform.group_figure")
    op.drop_constraint("uq_group_figure_week_program_id", "group_figure", schema="platform")
    for name in ("ck_group_figure_rounded", "ck_group_figure_group_of_ten"):
        op.drop_constraint(name, "group_figure", schema="platform")
    op.alter_column("group_figure", "completed_percent", new_column_name="percent", schema="platform")
    for column in (
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("members_told", sa.Integer(), nullable=True),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
    ):
        op.add_column("group_figure", column, schema="platform")
    op.create_unique_constraint(
        op.f("uq_group_figure_week_kind_program_id"),
        "group_figure",
        ["week", "kind", "program_id"],
        schema="platform",
        postgresql_nulls_not_distinct=True,
    )
    for name, rule in (
        ("kind_known", "kind in ('active', 'on plan', 'completed', 'withdrawn')"),
        ("rounded", "mod(percent, 5) = 0 and percent between 5 and 95"),
        ("group_of_ten", "percent is null or (members >= 10 and members_told >= 10)"),
        ("told_together", "(percent is null) = (members_told is null)"),
    ):
        op.create_check_constraint(op.f(f"ck_group_figure_{name}"), "group_figure", rule, schema="platform")
    op.execute("revoke select on platform.group_figure from resocode_app")
    told = "(id, week, kind, program_id, percent, members_told, counted_at, taken_at)"
    op.execute(f"grant select {told} on platform.group_figure to resocode_app")


def _rights() -> None:
    for table in ("help_note", "help_limit", "review_claim"):
        rights.close(f"platform.{table}")
        rights.app_reads(f"platform.{table}", MY_COHORT)
    rights.app_adds("platform.help_note", f"{MY_COHORT} and written_by = {ME}")
    mine = f"{MY_COHORT} and changed_by = {ME}"
    rights.app_adds("platform.help_limit", mine)
    op.execute(f"grant update ({', '.join(LIMITS)}, changed_by, changed_at) on platform.help_limit to resocode_app")
    op.execute(
        f"create policy app_changes on platform.help_limit for update to resocode_app using ({MY_COHORT}) with check ({mine})"
    )
    own = "exists (select from platform.submission s where s.id = submission_id and s.enrollment_id = review_claim.enrollment_id)"
    rights.app_adds("platform.review_claim", f"{MY_COHORT} and staff_id = {ME} and {own}")
    op.execute("grant update (staff_id, taken_at) on platform.review_claim to resocode_app")
    free = f"(staff_id is null or staff_id = {ME} or taken_at < now() - interval '3 days')"
    op.execute(
        f"create policy app_changes on platform.review_claim for update to resocode_app using ({MY_COHORT} and {free})"
        f" with check ({MY_COHORT} and (staff_id is null or staff_id = {ME}))"
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
