"""Checks of the audit are kept; views of many persons are one statement; officers and auditors know who acted.

Danger: a log that was changed and is trusted on. Principle: the newest check decides whether guarded actions are open, and
the dashboard can neither write nor change a check. Mechanism: ``privacy.audit_check`` is written by the worker; everybody
who is signed in reads it, for the banner.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

VIEWS = """
-- One line for each person whom this session has not looked at for this purpose within 15 minutes; returns how many.
create function privacy.append_views(p_at timestamptz, p_kind text, p_subjects uuid[], p_details text) returns int
language plpgsql security definer set search_path = '' as $$
declare
    person uuid;
    written int := 0;
begin
    foreach person in array p_subjects loop
        if not privacy.view_is_recorded(person, p_details, p_at) then
            perform privacy.append_audit(p_at, 'person viewed', p_kind, person, p_details);
            written := written + 1;
        end if;
    end loop;
    return written;
end $$;
"""

DIRECTORY = """
-- Who works or worked here, for those who read the audit or answer requests.
create function staff.directory() returns table (id uuid, name text, role text, disabled boolean)
language sql stable security definer set search_path = '' as $$
    select m.id, m.name, m.role, m.disabled_at is not null from staff.staff_member m
    where (select staff.my_role()) in ('privacy_officer', 'auditor', 'admin')
$$;
"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_check",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("broken_at", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("checkpoints", sa.Integer(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("place", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_check")),
        schema="privacy",
    )
    rights.close("privacy.audit_check")
    op.execute("revoke update, delete on privacy.audit_check from resocode_worker")
    rights.app_reads("privacy.audit_check", "(select staff.my_role()) is not null")
    rights.functions(
        VIEWS, {"privacy.append_views(timestamptz, text, uuid[], text)": "resocode_app"}, owner="resocode_ledger"
    )
    rights.functions(DIRECTORY, {"staff.directory()": "resocode_app"})
    op.execute("set local role resocode_ledger")
    op.execute("create index ix_audit_event_action on privacy.audit_event (action, seq)")
    op.execute("create index ix_audit_event_at on privacy.audit_event (at)")
    op.execute("reset role")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
