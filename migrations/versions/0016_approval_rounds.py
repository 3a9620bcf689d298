"""Approvals count for the round in which they were given: a deletion that went back to approval begins a new one.

Otherwise an approval that was taken back would count again, and whoever gave it could not give another.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

FUNCTIONS = """
-- The version with which a request came to wait for approval, the last time; 0: it never did.
create function privacy.approval_round(p_request uuid) returns int
language sql stable security definer set search_path = '' as $$
    select coalesce(max(m.version), 0) from privacy.request_move m
    where m.request_id = p_request and m.to_state = 'to approve'
$$;

-- How many people have approved this plan in this round, have seen it before, and may: an officer still, and not involved.
create or replace function privacy.approvals_of(p_request uuid, p_fingerprint text) returns bigint
language sql stable security definer set search_path = '' as $$
    select count(distinct a.staff_id) from privacy.approval a
    join staff.staff_member m on m.id = a.staff_id and m.role = 'privacy_officer' and m.disabled_at is null
    where a.request_id = p_request and a.fingerprint = p_fingerprint and a.round = privacy.approval_round(p_request)
      and (privacy.single_officer() or a.staff_id <> all (coalesce(privacy.involved_in(p_request), '{}')))
      and exists (select from privacy.plan_view v where v.request_id = a.request_id and v.staff_id = a.staff_id
                  and v.fingerprint = a.fingerprint and v.viewed_at <= a.approved_at)
$$;
"""
OLD, NEW = "uq_approval_request_id_fingerprint_staff_id", "uq_approval_request_id_fingerprint_staff_id_round"


def upgrade() -> None:
    """Apply."""
    op.add_column("approval", sa.Column("round", sa.Integer(), server_default="0", nullable=False), schema="privacy")
    op.drop_constraint(op.f(OLD), "approval", schema="privacy", type_="unique")
    _set_rounds()
    op.create_unique_constraint(
        op.f(NEW), "approval", ["request_id", "fingerprint", "staff_id", "round"], schema="privacy", postgresql_nulls_not_distinct=True
    )  # fmt: skip
    callers = {
        "privacy.approval_round(uuid)": "resocode_app, resocode_worker",
        "privacy.approvals_of(uuid, text)": "resocode_app, resocode_worker",
    }
    rights.functions(FUNCTIONS, callers)


def _set_rounds() -> None:
    """Approvals that were given belong to the round that ran then. The one change they ever see."""
    op.execute("alter table privacy.approval disable trigger keep")
    op.execute("grant update (round) on privacy.approval to resocode_definer")
    op.execute("set local role resocode_definer")
    op.execute(
        "update privacy.approval a set round = coalesce((select max(m.version) from privacy.request_move m"
        " where m.request_id = a.request_id and m.to_state = 'to approve' and m.moved_at <= a.approved_at), 0)"
    )
    op.execute("reset role")
    op.execute("revoke update (round) on privacy.approval from resocode_definer")
    op.execute("alter table privacy.approval enable trigger keep")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
