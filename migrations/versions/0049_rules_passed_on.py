"""A restriction that a rule sets, and its end, are passed on like one that somebody asked for: they belong to the restriction.

``restriction_id`` has no foreign key: the row of a restriction goes with its person, what was passed on stays as proof.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

FUNCTIONS = """
create or replace function privacy.guard_propagation() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
begin
    if tg_op = 'INSERT' then
        if new.state <> 'planned' then
            raise exception 'what has to follow elsewhere begins planned' using errcode = 'insufficient_privilege';
        end if;
        if new.restriction_id is not null and not exists (select from privacy.restriction r where r.id = new.restriction_id) then
            raise exception 'there is no such restriction' using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    if (new.id, new.request_id, new.restriction_id, new.what, new.processor, new.planned_at)
       is distinct from (old.id, old.request_id, old.restriction_id, old.what, old.processor, old.planned_at) then
        raise exception 'what has to follow elsewhere does not change';
    end if;
    if old.state in ('done', 'canceled') then
        raise exception 'what is done or canceled does not change';
    end if;
    if new.state <> 'canceled' and acting is distinct from 'system' then
        raise exception 'only the worker says that something was done elsewhere' using errcode = 'insufficient_privilege';
    end if;
    if new.state = 'done' and (new.proof = 'recorded' or new.proof = 'by hand' and not exists (
        select from privacy.manual_step m where m.key = privacy.propagation_key(new) and m.state = 'confirmed')) then
        raise exception 'nothing is done elsewhere without a proof';
    end if;
    return new;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    op.add_column("propagation", sa.Column("restriction_id", sa.UUID(), nullable=True), schema="privacy")
    op.alter_column("propagation", "request_id", nullable=True, schema="privacy")
    op.create_check_constraint(op.f("ck_propagation_follows_from_one"), "propagation",
                               "num_nonnulls(request_id, restriction_id) = 1", schema="privacy")  # fmt: skip
    op.create_index("uq_propagation_restriction", "propagation", ["restriction_id", "what", "processor"], unique=True, schema="privacy",
                    postgresql_where=sa.text("restriction_id is not null"))  # fmt: skip
    rights.functions(FUNCTIONS, {"privacy.guard_propagation()": "resocode_owner"})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
