"""Files that are gone name nobody any more; "18 or over?" is asked by a notice to many.

The row of a destroyed file stayed with the id of the consent case it was evidence for, which is the student's: also after their
erasure. An erasure takes it out now, like the other columns that lead to a person; what is left of earlier erasures goes here. A
question that was being written letter by letter when this is installed ends: whoever got no letter was not asked, and can be.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None

FUNCTIONS = """
-- The key goes first, then the bytes. done: false when that had happened before; no row: there is no such artifact. Whose it is: the
-- request of an export, the student whose consent evidence proves.
create or replace function privacy.destroy_artifact(p_id uuid, p_why text, p_now timestamptz)
returns table (kind text, owner_id uuid, done boolean)
language plpgsql security definer set search_path = '' as $$
declare
    kept privacy.artifact;
begin
    perform staff.demand(array['privacy_officer'], false, p_now);
    select * into kept from privacy.artifact a where a.id = p_id for update;
    if kept.id is null or (kept.kind <> 'evidence' and session_user <> 'resocode_worker') then
        return;
    end if;
    update privacy.artifact a set wrapped_key = null, destroyed_at = p_now, destroyed_why = p_why
    where a.id = p_id and a.destroyed_at is null;
    delete from privacy.artifact_part q where q.artifact_id = p_id;
    return query select kept.kind, coalesce(kept.owner_id, kept.student_id), kept.destroyed_at is null;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    op.alter_column("artifact", "owner_id", existing_type=sa.UUID(), nullable=True, schema="privacy")
    op.execute("set local role resocode_definer")  # the owner of a table with forced row security changes 0 rows
    op.execute("update privacy.artifact set owner_id = null where kind = 'evidence'")
    op.execute("reset role")
    op.create_check_constraint(
        op.f("ck_artifact_owner_of_export"), "artifact", "(kind = 'export') = (owner_id is not null)", schema="privacy"
    )
    rights.functions(FUNCTIONS, {"privacy.destroy_artifact(uuid, text, timestamptz)": "resocode_app, resocode_worker"})
    _end_what_is_under_way()


def _end_what_is_under_way() -> None:
    """Orders that are open end, and no campaign keeps its place in a list of students once it has gathered them."""
    for table, change in {
        "privacy.consent_round": "done_at = greatest(begun_at, now()) where kind = 'ask ages' and done_at is null",
        "privacy.campaign": "gathered_to = 'ffffffff-ffff-ffff-ffff-ffffffffffff' where state <> 'gathering' and gathered_to is not null",
    }.items():
        op.execute(f"alter table {table} no force row level security")  # or the owner changes 0 rows
        op.execute(f"update {table} set {change}")
        op.execute(f"alter table {table} force row level security")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
