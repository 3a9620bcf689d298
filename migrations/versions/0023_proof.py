"""Erasures stay done: who may not come back, what waits for an officer, findings, certificates, and what a restore leaves to be seen.

Danger: an old spreadsheet, a late sync or a restored backup brings an erased person back, and nobody notices. Principle: the
database refuses old records whoever writes them; what is doubtful waits for a person; a sign-up dated after the erasure is
somebody new. Mechanism: triggers on both tables of persons compare keyed hashes with ``privacy.suppression``; importers ask
``privacy.old_record`` before; an officer's decision is a definer function that asks again who acts.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"
PROVERS = "(select staff.my_role()) in ('privacy_officer', 'auditor')"

FUNCTIONS = """
-- Whether a record is of somebody who was erased: 'old', or why nobody can tell; null: it may enter. p_at: when the person
-- signed up, by the record's own word; null: it does not say.
create function privacy.old_record(p_email bytea, p_provider bytea, p_at timestamptz, p_now timestamptz,
    out verdict text, out erased timestamptz)
language plpgsql stable security definer set search_path = '' as $$
declare
    by_mail timestamptz;
    by_id timestamptz;
begin
    select max(s.erased_at) filter (where s.kind = 'e-mail'), max(s.erased_at) filter (where s.kind = 'provider id')
    into by_mail, by_id from privacy.suppression s
    where s.until > p_now and (s.hash = p_email and s.kind = 'e-mail' or s.hash = p_provider and s.kind = 'provider id');
    erased := greatest(by_mail, by_id);
    if erased is null or exists (
        select from privacy.quarantine q where q.email_hash = p_email and q.provider_hash = p_provider
          and q.decision = 'let in' and q.decided_at > old_record.erased) then
        return;
    end if;
    verdict := case
        when p_at <= by_id then 'old'
        when p_at is null then 'no date'
        when by_id is not null then 'same account, later date'
        when p_at > by_mail then null
        when p_at = pg_catalog.date_trunc('day', p_at, 'UTC') and p_at = pg_catalog.date_trunc('day', by_mail, 'UTC') then 'same day'
        else 'old' end;
    if verdict <> 'old' and exists (
        select from privacy.quarantine q where q.email_hash = p_email and q.provider_hash = p_provider
          and q.decision = 'discarded' and q.dated_at is not distinct from p_at and q.decided_at > old_record.erased) then
        verdict := 'old'; -- an officer has said so about this very record
    end if;
end $$;

create function privacy.refuse_old_records() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    many bigint;
begin
    if tg_op = 'INSERT' and tg_table_name = 'student' then
        select count(*) into many from added a
        where exists (select from privacy.suppression s where s.hash in (a.email_hash, a.provider_hash))
          and (privacy.old_record(a.email_hash, a.provider_hash, a.registered_at, pg_catalog.now())).verdict is not null;
    elsif tg_op = 'INSERT' then
        select count(*) into many from added a
        where exists (select from privacy.suppression s where s.hash in (a.email_hash, a.provider_hash))
          and (privacy.old_record(a.email_hash, a.provider_hash, a.asked_at, pg_catalog.now())).verdict is not null;
    elsif tg_table_name = 'student' then
        many := ((privacy.old_record(new.email_hash, new.provider_hash, new.registered_at, pg_catalog.now())).verdict is not null)::int;
    else
        many := ((privacy.old_record(new.email_hash, new.provider_hash, new.asked_at, pg_catalog.now())).verdict is not null)::int;
    end if;
    if many > 0 then
        raise exception '% old records of erased people are refused', many using errcode = '23000', constraint = 'erased_person';
    end if;
    return new;
end $$;

-- An officer lets a record in, or discards it; returns the new person's id or the record's, null when that was decided before.
create function privacy.decide_quarantined(p_id uuid, p_let_in boolean, p_reason text, p_now timestamptz) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
    kept privacy.quarantine;
    made uuid;
    word text := case when p_let_in then 'let in' else 'discarded' end;
begin
    perform staff.demand(array['privacy_officer'], true, p_now);
    select * into kept from privacy.quarantine q where q.id = p_id for update;
    if kept.id is null then
        perform staff.refuse('RS004', 'There is no such record, or it is not open to you.');
    elsif kept.decision = word then
        return null;
    elsif kept.decision is not null then
        perform staff.refuse('RS002', 'This record was decided about already.');
    end if;
    if exists (select from staff.staff_member m where m.id = staff.my_id() and lower(m.email) = lower(kept.record ->> 'email')) then
        perform staff.refuse('RS001', 'This is about your own record. Another privacy officer has to see to it.');
    end if;
    update privacy.quarantine set decision = word, record = null, reason = p_reason, decided_at = p_now, decided_by = staff.my_id()
    where id = p_id;
    if not p_let_in then
        return p_id;
    end if;
    made := (kept.record ->> 'id')::uuid;
    if kept.person = 'student' then
        if exists (select from platform.student s where lower(s.email) = lower(kept.record ->> 'email') or s.id = made) then
            perform staff.refuse('RS002', 'A student with this address is there already. Discard this record.');
        end if;
        insert into platform.student select (pg_catalog.jsonb_populate_record(null::platform.student,
            '{"experience_level": "not stated", "account_status": "open"}'::jsonb
            || pg_catalog.jsonb_build_object('registered_at', p_now) || pg_catalog.jsonb_strip_nulls(kept.record))).*;
        insert into privacy.consent (student_id, state, source) values (made, 'not needed', kept.source);
    else
        insert into platform.visitor select (pg_catalog.jsonb_populate_record(null::platform.visitor,
            '{"experience_level": "not stated", "status": "new"}'::jsonb
            || pg_catalog.jsonb_build_object('asked_at', p_now) || pg_catalog.jsonb_strip_nulls(kept.record))).*;
    end if;
    return made;
end $$;

create function privacy.judge_finding(p_id uuid, p_verdict text, p_now timestamptz) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
    kept privacy.erasure_finding;
begin
    perform staff.demand(array['privacy_officer'], true, p_now);
    select * into kept from privacy.erasure_finding f where f.id = p_id for update;
    if kept.id is null then
        perform staff.refuse('RS004', 'There is no such finding, or it is not open to you.');
    elsif kept.verdict = p_verdict then
        return false;
    elsif kept.verdict is not null then
        perform staff.refuse('RS002', 'This finding was judged already.');
    end if;
    update privacy.erasure_finding set verdict = p_verdict, judged_at = p_now, judged_by = staff.my_id() where id = p_id;
    update privacy.erasure_step set next_at = p_now
    where erasure_id = kept.erasure_id and what = 'residue' and state not in ('proven', 'exempt');
    update privacy.erasure set next_at = p_now where id = kept.erasure_id and finished_at is null;
    return true;
end $$;

create function privacy.guard_certificate() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'DELETE' and old.issued_at < pg_catalog.now() - interval '3 years' then
        return old;
    end if;
    raise exception 'a certificate of erasure does not change';
end $$;

-- What this database knows of what the ledger says: erasures it does not know, deletions it would go on with although they
-- were canceled, its lines of audit, and erasures that the ledger should have and has not. Names nobody.
create function privacy.compared(p_erasures uuid[], p_canceled uuid[],
    out unknown uuid[], out uncanceled uuid[], out lines bigint, out unwritten uuid[])
language sql stable security definer set search_path = '' as $$
    select
        array(select e from unnest(p_erasures) e
              where not exists (select from privacy.suppression s where s.erasure_id = e)
                and not exists (select from privacy.erasure x where x.id = e and x.begun_at is not null)),
        array(select r.id from privacy.request r where r.id = any (p_canceled) and r.kind = 'delete'
                and r.state in ('to approve', 'waiting') and r.student_id is not null),
        (select coalesce(max(a.seq), 0) from privacy.audit_event a),
        array(select s.erasure_id from privacy.erasure_step s
              where s.what = 'ledger' and s.state = 'proven' and s.erasure_id <> all (p_erasures)
                and exists (select from privacy.suppression x where x.erasure_id = s.erasure_id and x.until > pg_catalog.now()))
$$;
"""

CALLERS = {
    "privacy.old_record(bytea, bytea, timestamptz, timestamptz)": "resocode_worker",
    "privacy.refuse_old_records()": "resocode_owner",
    "privacy.decide_quarantined(uuid, boolean, text, timestamptz)": "resocode_app",
    "privacy.judge_finding(uuid, text, timestamptz)": "resocode_app",
    "privacy.guard_certificate()": "resocode_owner",
    "privacy.compared(uuid[], uuid[])": "resocode_app, resocode_worker",
}

READS = {
    "privacy.suppression": (OFFICER, "(id, kind, erasure_id, erased_at, basis, until)"),
    "privacy.quarantine": (OFFICER, ""),
    "privacy.erasure_finding": (OFFICER, ""),
    "privacy.erasure_certificate": (PROVERS, ""),
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "suppression",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("erasure_id", sa.UUID(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind in ('e-mail', 'provider id')", name=op.f("ck_suppression_kind_known")),
        sa.CheckConstraint("until > erased_at", name=op.f("ck_suppression_ends_later")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression")),
        sa.UniqueConstraint("hash", "kind", "erasure_id", name=op.f("uq_suppression_hash_kind_erasure_id")),
        schema="privacy",
    )
    op.create_index("ix_suppression_erasure_id", "suppression", ["erasure_id"], unique=False, schema="privacy")
    op.create_index("ix_suppression_until", "suppression", ["until"], unique=False, schema="privacy")
    op.create_table(
        "quarantine",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("email_hash", sa.LargeBinary(), nullable=False),
        sa.Column("provider_hash", sa.LargeBinary(), nullable=False),
        sa.Column("record", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("dated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.UUID(), nullable=True),
        sa.CheckConstraint("decision in ('let in', 'discarded', 'expired')", name=op.f("ck_quarantine_decision_known")),
        sa.CheckConstraint("person in ('student', 'visitor')", name=op.f("ck_quarantine_person_known")),
        sa.CheckConstraint(
            "why in ('no date', 'same day', 'same account, later date')", name=op.f("ck_quarantine_why_known")
        ),
        sa.CheckConstraint("(decision is null) = (decided_at is null)", name=op.f("ck_quarantine_decided_when")),
        sa.CheckConstraint("(decision is null) = (record is not null)", name=op.f("ck_quarantine_decided_forgets")),
        sa.ForeignKeyConstraint(["decided_by"], ["staff.staff_member.id"], name=op.f("fk_quarantine_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        schema="privacy",
    )
    op.create_index(op.f("ix_quarantine_decided_by"), "quarantine", ["decided_by"], unique=False, schema="privacy")
    op.create_index("ix_quarantine_found", "quarantine", ["found_at", "id"], unique=False, schema="privacy")
    op.create_index(
        "ix_quarantine_hashes", "quarantine", ["email_hash", "provider_hash"], unique=False, schema="privacy"
    )
    op.create_index(
        "uq_quarantine_waiting",
        "quarantine",
        ["person", "email_hash", "provider_hash"],
        unique=True,
        schema="privacy",
        postgresql_where=sa.text("decision is null"),
    )
    op.create_table(
        "erasure_finding",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("erasure_id", sa.UUID(), nullable=False),
        sa.Column("place_table", sa.Text(), nullable=False),
        sa.Column("place_column", sa.Text(), nullable=False),
        sa.Column("place_row", sa.Text(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=False),
        sa.Column("sure", sa.Boolean(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("judged_by", sa.UUID(), nullable=True),
        sa.CheckConstraint("trace in ('e-mail', 'phone', 'id', 'name')", name=op.f("ck_erasure_finding_trace_known")),
        sa.CheckConstraint(
            "verdict in ('removed', 'somebody else', 'stays in another record', 'gone')",
            name=op.f("ck_erasure_finding_verdict_known"),
        ),
        sa.CheckConstraint("(verdict is null) = (judged_at is null)", name=op.f("ck_erasure_finding_judged_when")),
        sa.ForeignKeyConstraint(["erasure_id"], ["privacy.erasure.id"], name=op.f("fk_erasure_finding_erasure_id")),
        sa.ForeignKeyConstraint(["judged_by"], ["staff.staff_member.id"], name=op.f("fk_erasure_finding_judged_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_finding")),
        sa.UniqueConstraint(
            "erasure_id",
            "place_table",
            "place_column",
            "place_row",
            "trace",
            name=op.f("uq_erasure_finding_erasure_id_place_table_place_column_place_row_trace"),
        ),
        schema="privacy",
    )
    op.create_index(
        op.f("ix_erasure_finding_judged_by"), "erasure_finding", ["judged_by"], unique=False, schema="privacy"
    )
    op.create_index(
        "ix_erasure_finding_open",
        "erasure_finding",
        ["found_at"],
        unique=False,
        schema="privacy",
        postgresql_where=sa.text("verdict is null"),
    )
    op.create_table(
        "erasure_certificate",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("erasure_id", sa.UUID(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["erasure_id"], ["privacy.erasure.id"], name=op.f("fk_erasure_certificate_erasure_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_certificate")),
        sa.UniqueConstraint("erasure_id", name=op.f("uq_erasure_certificate_erasure_id")),
        sa.UniqueConstraint("number", name=op.f("uq_erasure_certificate_number")),
        schema="privacy",
    )
    op.create_index(
        "ix_erasure_certificate_issued",
        "erasure_certificate",
        [sa.literal_column("issued_at desc"), sa.literal_column("id desc")],
        unique=False,
        schema="privacy",
    )

    op.execute("create sequence privacy.certificate_number")
    op.execute("grant usage on sequence privacy.certificate_number to resocode_worker")
    for table, (rule, columns) in READS.items():
        rights.close(table)
        rights.app_reads(table, rule, columns)
    for table in ("privacy.quarantine", "privacy.erasure_finding"):
        rights.let_definer(table, "update")
    for table in ("platform.student", "platform.visitor", "privacy.consent"):
        rights.let_definer(table, "insert")
    rights.functions(FUNCTIONS, CALLERS)
    op.execute(
        "create trigger guard_certificate before update or delete on privacy.erasure_certificate"
        " for each row execute function privacy.guard_certificate()"
    )
    for table in ("student", "visitor"):
        op.execute(
            f"create trigger refuse_old_records after insert on platform.{table} referencing new table as added"
            " for each statement execute function privacy.refuse_old_records()"
        )
        op.execute(
            f"create trigger refuse_old_changes before update of email_hash, provider_hash on platform.{table} for each row"
            " when (old.email_hash is distinct from new.email_hash or old.provider_hash is distinct from new.provider_hash)"
            " execute function privacy.refuse_old_records()"
        )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
