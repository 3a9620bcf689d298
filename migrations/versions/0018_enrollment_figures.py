"""Figures of enrollments that are grouped no finer than they are shown: by cohort a million students took six seconds."""

from alembic import op

from migrations import rights

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

MAY_COUNT = """((select staff.my_role()) in ('program_staff', 'admin') or e.cohort_id = any ((select staff.my_cohorts())::uuid[]))
      and (p_from is null or e.enrolled_at >= p_from) and (p_to is null or e.enrolled_at < p_to)
      and (p_program is null or e.program_id = p_program) and (p_cohort is null or e.cohort_id = p_cohort)"""

FUNCTIONS = f"""
-- Enrollments that began in a period by what became of them; for those who may know how many there are without seeing who.
create function platform.enrollment_counts(p_from timestamptz, p_to timestamptz, p_program uuid, p_cohort uuid)
returns table (status text, started boolean, enrollments bigint)
language sql stable security definer set search_path = '' as $$
    select e.status, e.started_at is not null, count(*) from platform.enrollment e
    where {MAY_COUNT}
    group by 1, 2
$$;

-- The same by program and month (UTC) in which they began.
create function platform.enrollment_months(p_from timestamptz, p_to timestamptz, p_program uuid, p_cohort uuid)
returns table (program_id uuid, month date, enrollments bigint)
language sql stable security definer set search_path = '' as $$
    select e.program_id, pg_catalog.date_trunc('month', e.enrolled_at at time zone 'UTC')::date, count(*)
    from platform.enrollment e
    where {MAY_COUNT}
    group by 1, 2
$$;
"""


def upgrade() -> None:
    """Apply."""
    op.execute("set local role resocode_definer")
    op.execute("drop function platform.enrollment_counts(timestamptz, timestamptz)")
    op.execute("reset role")
    asked = "(timestamptz, timestamptz, uuid, uuid)"
    rights.functions(
        FUNCTIONS,
        {f"platform.enrollment_{name}{asked}": "resocode_app" for name in ("counts", "months")},
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
