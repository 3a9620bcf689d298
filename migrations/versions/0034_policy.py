"""Versions of the policy: proposed as a file, put up by one person, approved by another, and then unchangeable.

Danger: the rules by which everything here is done are changed by one person, or afterwards. Principle: what was proposed is
what is approved, by two different people who have just proved who they are; a published version never changes. Mechanism:
definer functions ask again who acts; triggers hold versions and proposals, whoever writes.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

READERS = "(select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')"

FUNCTIONS = """
create function privacy.guard_policy_version() returns trigger language plpgsql set search_path = '' as $$
begin
    raise exception 'a published version of the policy does not change';
end $$;

create function privacy.guard_policy_proposal() returns trigger language plpgsql set search_path = '' as $$
declare
    marks text[] := '{simulation,simulated_at,put_up_at,put_up_by,decision,reason,decided_at,decided_by}';
begin
    if tg_op = 'DELETE' then
        raise exception 'a proposal is kept';
    end if;
    if pg_catalog.to_jsonb(new) - marks is distinct from pg_catalog.to_jsonb(old) - marks then
        raise exception 'what was proposed does not change: propose it anew';
    end if;
    if old.decision is not null and pg_catalog.to_jsonb(new) is distinct from pg_catalog.to_jsonb(old) then
        raise exception 'what was decided does not change';
    end if;
    return new;
end $$;

-- One person puts a version up; false: they did before.
create function privacy.put_up_policy(p_id uuid, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
    kept privacy.policy_proposal;
begin
    perform staff.demand(array['privacy_officer', 'admin'], true, p_now);
    if staff.my_id() is null then
        perform staff.refuse('RS001', 'Somebody has to put a version up in their own name.');
    end if;
    select * into kept from privacy.policy_proposal p where p.id = p_id for update;
    if kept.id is null then
        perform staff.refuse('RS004', 'There is no such proposal, or it is not open to you.');
    elsif kept.put_up_by = staff.my_id() and kept.decision is null then
        return false;
    elsif kept.put_up_at is not null or kept.decision is not null then
        perform staff.refuse('RS002', 'This version was put up already.');
    elsif kept.simulated_at is null then
        perform staff.refuse('RS002', 'The worker has not worked out yet whom this affects. Look again in a minute.');
    elsif kept.effective_at <= p_now then
        perform staff.refuse('RS002', 'The day from which this version holds is past. Propose it with a later one.');
    end if;
    update privacy.policy_proposal set put_up_at = p_now, put_up_by = staff.my_id() where id = p_id;
    return true;
end $$;

-- Another person approves or declines, or whoever put it up withdraws; an approval publishes. False: decided so before.
create function privacy.decide_policy(p_id uuid, p_decision text, p_reason text, p_sha256 text, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
    kept privacy.policy_proposal;
    newest privacy.policy_version;
begin
    perform staff.demand(array['privacy_officer', 'admin'], p_decision = 'approved', p_now);
    if staff.my_id() is null then
        perform staff.refuse('RS001', 'Somebody has to decide in their own name.');
    end if;
    select * into kept from privacy.policy_proposal p where p.id = p_id for update;
    if kept.id is null then
        perform staff.refuse('RS004', 'There is no such proposal, or it is not open to you.');
    elsif kept.decision = p_decision and kept.decided_by = staff.my_id() then
        return false;
    elsif kept.decision is not null then
        perform staff.refuse('RS002', 'This version was decided about already.');
    end if;
    if p_decision = 'approved' then
        select * into newest from privacy.policy_version v order by v.effective_at desc limit 1;
        if kept.put_up_by is null then
            perform staff.refuse('RS002', 'One person puts this version up first, then another one approves it.');
        elsif kept.put_up_by = staff.my_id() then
            perform staff.refuse('RS001', 'You put this version up: another person approves it.');
        elsif kept.sha256 <> p_sha256 then
            perform staff.refuse('RS002', 'This is not the version that you were shown. Look at it again.');
        elsif kept.follows <> newest.version then
            perform staff.refuse('RS002', 'Another version was published meanwhile. Propose this one anew, on top of that.');
        elsif kept.effective_at <= p_now then
            perform staff.refuse('RS002', 'The day from which this version holds is past. Propose it with a later one.');
        end if;
        insert into privacy.policy_version (version, effective_at, published_at, document)
        values (kept.version, kept.effective_at, p_now, kept.document);
    end if;
    update privacy.policy_proposal set decision = p_decision, reason = p_reason, decided_at = p_now, decided_by = staff.my_id()
    where id = p_id;
    return true;
end $$;
"""
CALLERS = {
    "privacy.guard_policy_version()": "resocode_owner",
    "privacy.guard_policy_proposal()": "resocode_owner",
    "privacy.put_up_policy(uuid, timestamptz)": "resocode_app",
    "privacy.decide_policy(uuid, text, text, text, timestamptz)": "resocode_app",
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "policy_proposal",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("follows", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("changes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("significant", sa.Boolean(), nullable=False),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("simulation", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("simulated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("put_up_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("put_up_by", sa.UUID(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.UUID(), nullable=True),
        sa.CheckConstraint(
            "decision in ('approved', 'declined', 'withdrawn')", name=op.f("ck_policy_proposal_decision_known")
        ),
        sa.CheckConstraint("num_nulls(put_up_at, put_up_by) in (0, 2)", name=op.f("ck_policy_proposal_put_up_whole")),
        sa.CheckConstraint(
            "num_nulls(decision, decided_at, decided_by) in (0, 3)", name=op.f("ck_policy_proposal_decided_whole")
        ),
        sa.CheckConstraint(
            "decision <> 'approved' or decided_by <> put_up_by", name=op.f("ck_policy_proposal_two_people")
        ),
        sa.ForeignKeyConstraint(["put_up_by"], ["staff.staff_member.id"], name=op.f("fk_policy_proposal_put_up_by")),
        sa.ForeignKeyConstraint(["decided_by"], ["staff.staff_member.id"], name=op.f("fk_policy_proposal_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_proposal")),
        schema="privacy",
    )
    for column in ("put_up_by", "decided_by"):
        op.create_index(
            op.f(f"ix_policy_proposal_{column}"), "policy_proposal", [column], unique=False, schema="privacy"
        )
    op.create_index(
        "uq_policy_proposal_open",
        "policy_proposal",
        ["version"],
        unique=True,
        schema="privacy",
        postgresql_where=sa.text("decision is null"),
    )
    op.create_index(
        "ix_policy_proposal_filed",
        "policy_proposal",
        [sa.literal_column("filed_at desc"), sa.literal_column("id desc")],
        unique=False,
        schema="privacy",
    )
    rights.close("privacy.policy_proposal")
    rights.app_reads("privacy.policy_proposal", READERS)
    rights.let_definer("privacy.policy_proposal", "update")
    rights.let_definer("privacy.policy_version", "insert")
    rights.functions(FUNCTIONS, CALLERS)
    op.execute(
        "create trigger guard before update or delete on privacy.policy_version"
        " for each row execute function privacy.guard_policy_version()"
    )
    op.execute(
        "create trigger guard before update or delete on privacy.policy_proposal"
        " for each row execute function privacy.guard_policy_proposal()"
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
