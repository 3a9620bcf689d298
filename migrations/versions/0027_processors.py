"""The register of processors, the circuits around their calls, and propagations that somebody or something carries out.

Danger: something that has to follow elsewhere is ticked off; a register that anybody edits proves nothing. Principle: what is
done elsewhere has a proof, the processor's answer or two persons' words, and only the worker may say so; officers may take
back what was not done yet. The register is written by admins, in their own name, version by version. Mechanism: triggers on
``propagation`` and ``manual_step``; ``processor_record`` is only added to; figures about processors come from a definer function.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"
READERS = "(select staff.my_role()) in ('admin', 'privacy_officer', 'auditor')"
ADMIN = "(select staff.my_role()) = 'admin' and written_by = (select staff.my_id())"

FUNCTIONS = """
create function privacy.propagation_key(p privacy.propagation) returns text
language sql immutable set search_path = '' as $$
    select 'propagation ' || p.id || ' ' || p.processor || ' ' || p.what
$$;

create function privacy.guard_propagation() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
begin
    if tg_op = 'INSERT' then
        if new.state <> 'planned' then
            raise exception 'what has to follow elsewhere begins planned' using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    if (new.id, new.request_id, new.what, new.processor, new.planned_at)
       is distinct from (old.id, old.request_id, old.what, old.processor, old.planned_at) then
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

-- Per processor: when something was last passed on and proven there, what is open, and since when something does not go through.
-- For those who read the register; counts and instants, and nobody's.
create function privacy.processor_activity()
returns table (name text, propagated_at timestamptz, verified_at timestamptz, open bigint, stuck_since timestamptz)
language sql stable security definer set search_path = '' as $$
    select a.name, max(a.propagated_at), max(a.verified_at), sum(a.open)::bigint, min(a.stuck_since) from (
        select p.processor, max(p.done_at), null::timestamptz, count(*) filter (where p.state in ('planned', 'called', 'waiting')),
            min(p.since) filter (where p.state in ('planned', 'called', 'waiting'))
        from privacy.propagation p group by 1
        union all
        select s.place, null, max(s.proven_at), count(*) filter (where s.state not in ('proven', 'exempt')),
            min(e.waits_since) filter (where s.state = 'failed')
        from privacy.erasure_step s join privacy.erasure e on e.id = s.erasure_id where s.what = 'processor' group by 1
    ) a (name, propagated_at, verified_at, open, stuck_since)
    where (select staff.my_role()) in ('admin', 'privacy_officer', 'auditor') or session_user = 'resocode_worker'
    group by 1
$$;
"""

STEPS = """
create or replace function privacy.guard_manual_step() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    acting text := case when staff.my_id() is not null then staff.my_role()
                        when session_user = 'resocode_worker' then 'system' end;
begin
    if tg_op = 'DELETE' then
        if old.state not in ('confirmed', 'canceled') or coalesce(old.confirmed_at, old.made_at) > pg_catalog.now() - interval '3 years' then
            raise exception 'a manual step is kept for three years after it was confirmed';
        end if;
        return old;
    end if;
    if tg_op = 'INSERT' then
        if new.state <> 'open' or acting is null or acting not in ('system', 'privacy_officer') then
            raise exception 'a manual step begins open' using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    if acting = 'system' and new.student_id is null and new.visitor_id is null and new.evidence is null
       and pg_catalog.to_jsonb(new) - '{student_id,visitor_id,evidence}'::text[]
           = pg_catalog.to_jsonb(old) - '{student_id,visitor_id,evidence}'::text[] then
        return new; -- the person is erased; the digest of the evidence stays
    end if;
    if old.state in ('open', 'attested') and new.state = 'canceled' and acting in ('system', 'privacy_officer')
       and pg_catalog.to_jsonb(new) - 'state'::text = pg_catalog.to_jsonb(old) - 'state'::text then
        if not exists (select from privacy.erasure_step s where s.key = new.key and s.state in ('proven', 'exempt'))
           and not exists (
               select from privacy.propagation p where new.key like 'propagation %' and p.state in ('done', 'canceled')
                 and p.id = case when new.key like 'propagation %' then pg_catalog.split_part(new.key, ' ', 2)::uuid end) then
            raise exception 'somebody still needs this step';
        end if;
        return new;
    end if;
    if acting is distinct from 'privacy_officer' then
        raise exception 'a % does not do manual steps', coalesce(acting, 'nobody') using errcode = 'insufficient_privilege';
    end if;
    if old.state in ('confirmed', 'canceled') then
        raise exception 'a confirmed step does not change, nor does a canceled one';
    end if;
    if (new.id, new.key, new.request_id, new.student_id, new.visitor_id, new.processor, new.what, new.made_at)
       is distinct from (old.id, old.key, old.request_id, old.student_id, old.visitor_id, old.processor, old.what, old.made_at) then
        raise exception 'what was asked for does not change';
    end if;
    if privacy.is_my_own(new.student_id, new.visitor_id) then
        raise exception 'nobody decides about their own record' using errcode = 'insufficient_privilege';
    end if;
    if (old.state, new.state) in (('open', 'attested'), ('attested', 'attested')) then
        if (new.attested_by is distinct from staff.my_id() and new.attested_by is distinct from old.attested_by)
           or new.evidence is null or new.evidence_sha256 is distinct from pg_catalog.sha256(pg_catalog.convert_to(new.evidence, 'UTF8')) then
            raise exception 'evidence is given in one''s own name' using errcode = 'insufficient_privilege';
        end if;
    elsif (old.state, new.state) = ('attested', 'confirmed') then
        if new.confirmed_by is distinct from staff.my_id() or (new.confirmed_by = old.attested_by and not privacy.single_officer())
           or (new.evidence, new.evidence_sha256, new.attested_by, new.attested_at)
              is distinct from (old.evidence, old.evidence_sha256, old.attested_by, old.attested_at) then
            raise exception 'another person confirms what one attested' using errcode = 'insufficient_privilege';
        end if;
        perform privacy.demand_fresh(new.confirmed_at);
    elsif new.state <> old.state and (old.state, new.state) <> ('attested', 'open') then
        raise exception 'a manual step does not go from % to %', old.state, new.state;
    end if;
    return new;
end $$;
"""


def upgrade() -> None:
    """Apply."""
    _change_steps()
    _change_propagations()
    _make_tables()
    rights.functions(
        FUNCTIONS,
        {"privacy.propagation_key(privacy.propagation)": "resocode_app, resocode_worker, resocode_definer",
         "privacy.guard_propagation()": "resocode_owner", "privacy.processor_activity()": "resocode_app, resocode_worker"},
    )  # fmt: skip
    rights.functions(STEPS, {"privacy.guard_manual_step()": "resocode_owner"})
    op.execute(
        "create trigger guard before insert or update on privacy.propagation"
        " for each row execute function privacy.guard_propagation()"
    )


def _change_steps() -> None:
    for name in ("state_known", "attested_whole"):
        op.drop_constraint(op.f(f"ck_manual_step_{name}"), "manual_step", schema="privacy")
    op.create_check_constraint(op.f("ck_manual_step_state_known"), "manual_step",
                               "state in ('open', 'attested', 'confirmed', 'canceled')", schema="privacy")  # fmt: skip
    op.create_check_constraint(
        op.f("ck_manual_step_attested_whole"), "manual_step",
        "case state when 'open' then attested_at is null when 'canceled' then true else attested_at is not null end"
        " and num_nulls(attested_at, attested_by, evidence_sha256) in (0, 3)", schema="privacy",
    )  # fmt: skip
    op.drop_index("ix_manual_step_open", "manual_step", schema="privacy")
    op.create_index("ix_manual_step_open", "manual_step", ["due_on", "id"], schema="privacy",
                    postgresql_where=sa.text("state in ('open', 'attested')"))  # fmt: skip


def _change_propagations() -> None:
    for column in (
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("proof", sa.Text(), server_default="", nullable=False),
        sa.Column("reference", sa.Text(), server_default="", nullable=False),
    ):
        op.add_column("propagation", column, schema="privacy")
    op.execute("alter table privacy.propagation no force row level security")
    op.execute("update privacy.propagation set proof = 'recorded' where state = 'done'")
    op.execute("alter table privacy.propagation force row level security")
    op.drop_constraint(op.f("ck_propagation_state_known"), "propagation", schema="privacy")
    for name, rule in (
        ("state_known", "state in ('planned', 'called', 'waiting', 'done', 'canceled')"),
        ("proof_known", "proof in ('', 'answered', 'by hand', 'recorded')"),
        ("done_has_proof", "(state = 'done') = (proof <> '')"),
    ):
        op.create_check_constraint(op.f(f"ck_propagation_{name}"), "propagation", rule, schema="privacy")
    op.drop_index("ix_propagation_planned", "propagation", schema="privacy")
    op.create_index("ix_propagation_open", "propagation", ["planned_at"], schema="privacy",
                    postgresql_where=sa.text("state in ('planned', 'called', 'waiting')"))  # fmt: skip
    op.create_index("ix_propagation_done", "propagation", ["processor", "done_at"], schema="privacy",
                    postgresql_where=sa.text("state = 'done'"))  # fmt: skip


def _make_tables() -> None:
    op.create_table(
        "processor_record",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.Text(), server_default="", nullable=False),
        sa.Column("legal_basis", sa.Text(), server_default="", nullable=False),
        sa.Column("contract_on", sa.Date(), nullable=True),
        sa.Column("review_by", sa.Date(), nullable=True),
        sa.Column("sub_processors", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("transfer_basis", sa.Text(), server_default="", nullable=False),
        sa.Column("region", sa.Text(), server_default="", nullable=False),
        sa.Column("contact", sa.Text(), server_default="", nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("written_by", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "legal_basis in ('', 'contract', 'consent', 'legal obligation', 'legitimate interest')",
            name=op.f("ck_processor_record_legal_basis_known"),
        ),
        sa.CheckConstraint(
            "transfer_basis in ('', 'no transfer', 'adequacy decision', 'EU-US Data Privacy Framework',"
            " 'standard contractual clauses', 'binding corporate rules')",
            name=op.f("ck_processor_record_transfer_basis_known"),
        ),
        sa.CheckConstraint("review_by is null or contract_on is null or review_by > contract_on",
                           name=op.f("ck_processor_record_reviewed_later")),
        sa.CheckConstraint("greatest(char_length(purpose), char_length(region), char_length(contact)) <= 500",
                           name=op.f("ck_processor_record_short")),
        sa.ForeignKeyConstraint(["written_by"], ["staff.staff_member.id"], name=op.f("fk_processor_record_written_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processor_record")),
        schema="privacy",
    )  # fmt: skip
    op.create_index(op.f("ix_processor_record_written_by"), "processor_record", ["written_by"], schema="privacy")
    op.create_index(
        "uq_processor_record_version", "processor_record", ["name", "version"], unique=True, schema="privacy"
    )
    op.create_table(
        "processor_health",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("circuit", sa.Text(), server_default="closed", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "circuit in ('closed', 'open', 'half-open')", name=op.f("ck_processor_health_circuit_known")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_processor_health")),
        schema="privacy",
    )
    for table in ("processor_record", "processor_health"):
        rights.close(f"privacy.{table}")
        rights.app_reads(f"privacy.{table}", READERS)
    op.execute("revoke update, delete on privacy.processor_record from resocode_worker")
    rights.app_adds("privacy.processor_record", ADMIN)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
