"""Who a standing hold is about, and whose address it is: with what a recorded view needs, the id and the address."""

from alembic import op

from migrations import rights

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

FUNCTIONS = """
-- Whom the standing holds are about, for privacy officers: a hold is an open case.
create function privacy.held_persons() returns table (hold_id uuid, kind text, person_id uuid, name text, email text)
language sql stable security definer set search_path = '' as $$
    select h.id, case when h.student_id is null then 'visitor' else 'student' end, coalesce(h.student_id, h.visitor_id),
        coalesce(s.name, v.name), coalesce(s.email, v.email)
    from privacy.legal_hold h left join platform.student s on s.id = h.student_id left join platform.visitor v on v.id = h.visitor_id
    where h.released_at is null and (select staff.my_role()) = 'privacy_officer'
$$;

-- Whose address this is, for a privacy officer who places a hold: exactly that address, nothing like it.
create function privacy.person_to_hold(p_email text) returns table (kind text, id uuid, name text, email text)
language sql stable security definer set search_path = '' as $$
    select 'student', s.id, s.name, s.email from platform.student s
    where lower(s.email) = lower(p_email) and (select staff.my_role()) = 'privacy_officer'
    union all
    select 'visitor', v.id, v.name, v.email from platform.visitor v
    where lower(v.email) = lower(p_email) and (select staff.my_role()) = 'privacy_officer'
      and not exists (select from platform.student s where lower(s.email) = lower(p_email))
    limit 1
$$;
"""
CALLERS = {"privacy.held_persons()": "resocode_app", "privacy.person_to_hold(text)": "resocode_app"}


def upgrade() -> None:
    """Apply."""
    op.execute("set local role resocode_definer")
    for signature in CALLERS:
        op.execute(f"drop function {signature}")
    op.execute("reset role")
    rights.functions(FUNCTIONS, CALLERS)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
