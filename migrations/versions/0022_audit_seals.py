"""A break of the audit can be acknowledged by two people, and is named for ever.

Danger: an acknowledgement hides a change. Principle: it repeats what a check of the worker found, word for word; nobody
acknowledges their own; it never changes and never goes. Mechanism: a trigger copies the break from ``privacy.audit_check`` and
holds everything else; the signature is made where the database has no key, and asked for at every verification.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

SEALERS = "(select staff.my_role()) in ('privacy_officer', 'admin')"
READERS = "(select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')"

GUARD = """
create function privacy.guard_seal() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    found privacy.audit_check;
begin
    if tg_op in ('DELETE', 'TRUNCATE') then
        raise exception 'an acknowledgement is never removed';
    end if;
    if staff.my_role() is null or staff.my_role() not in ('privacy_officer', 'admin') then
        raise exception 'privacy officers and admins acknowledge a break' using errcode = 'insufficient_privilege';
    end if;
    if tg_op = 'INSERT' then
        if new.proposed_by is distinct from staff.my_id() or new.confirmed_at is not null then
            raise exception 'a break is put up in one''s own name' using errcode = 'insufficient_privilege';
        end if;
        select * into found from privacy.audit_check c order by c.number desc limit 1;
        if found.problem is null or found.problem = '' or new.check_number <> found.number then
            raise exception 'only what the newest check found can be acknowledged';
        end if;
        if (new.checked_at, new.first_line, new.last_line, new.lost_until, new.digest, new.end_head, new.problem) is distinct from
           (found.checked_at, found.broken_at, found.last_line, found.lost_until, found.digest, found.end_head, found.problem) then
            raise exception 'a break is what the check found, and nothing else';
        end if;
        perform privacy.demand_fresh(new.proposed_at);
        return new;
    end if;
    if old.confirmed_at is not null then
        raise exception 'what was acknowledged does not change';
    end if;
    if pg_catalog.to_jsonb(new) - '{confirmed_at,confirmed_by,public_key,signature}'::text[]
       is distinct from pg_catalog.to_jsonb(old) - '{confirmed_at,confirmed_by,public_key,signature}'::text[] then
        raise exception 'a break is what the check found, and nothing else';
    end if;
    if new.confirmed_by is distinct from staff.my_id() or new.confirmed_by = old.proposed_by then
        raise exception 'another person acknowledges what one put up' using errcode = 'insufficient_privilege';
    end if;
    perform privacy.demand_fresh(new.confirmed_at);
    return new;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    for name, kind in (("last_line", sa.BigInteger()), ("lost_until", sa.BigInteger()), ("digest", sa.LargeBinary()),
                       ("end_head", sa.LargeBinary())):  # fmt: skip
        op.add_column("audit_check", sa.Column(name, kind, nullable=True), schema="privacy")
    op.create_table(
        "audit_seal",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("check_number", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_line", sa.BigInteger(), nullable=True),
        sa.Column("last_line", sa.BigInteger(), nullable=True),
        sa.Column("lost_until", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("end_head", sa.LargeBinary(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("proposed_by", sa.UUID(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_by", sa.UUID(), nullable=True),
        sa.Column("public_key", sa.Text(), nullable=True),
        sa.Column("signature", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "reason in ('fault of disk or software', 'changed by hand, cause known', 'changed, cause unknown',"
            " 'backup restored without its end')",
            name=op.f("ck_audit_seal_reason_known"),
        ),
        sa.CheckConstraint(
            "num_nulls(confirmed_at, confirmed_by, signature, public_key) in (0, 4)",
            name=op.f("ck_audit_seal_confirmed_whole"),
        ),
        sa.CheckConstraint("confirmed_by <> proposed_by", name=op.f("ck_audit_seal_two_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_seal")),
        schema="privacy",
    )
    rights.close("privacy.audit_seal")
    op.execute("revoke insert, update, delete on privacy.audit_seal from resocode_worker")
    rights.app_reads("privacy.audit_seal", READERS)
    rights.app_adds("privacy.audit_seal", f"{SEALERS} and proposed_by = (select staff.my_id())")
    rights.app_changes("privacy.audit_seal", SEALERS, "(confirmed_at, confirmed_by, public_key, signature)")
    rights.functions(GUARD, {"privacy.guard_seal()": "resocode_owner"})
    op.execute(
        "create trigger guard_seal before insert or update or delete on privacy.audit_seal"
        " for each row execute function privacy.guard_seal()"
    )
    op.execute(
        "create trigger never_truncated before truncate on privacy.audit_seal"
        " for each statement execute function privacy.guard_seal()"
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
