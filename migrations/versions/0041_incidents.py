"""Breaches of personal data: a register that only grows, decided by officers and closed by two of them.

Danger: a breach is forgotten, rewritten, or closed by the one who caused it. Principle: when we knew is written once; each decision has
a person and a reason; nothing is closed before both decisions were made and carried out, and two people close it. Mechanism:
a trigger on the register, whoever writes; notes are only added to; whom it concerns is the worker's business.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

OFFICER = "(select staff.my_role()) = 'privacy_officer'"
READERS = "(select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')"
CHANGED = (
    "scope, counted, affected, counted_at, authority, authority_reason, authority_at, authority_by, notified_at, notified_reference,"
    " people, people_reason, people_at, people_by, campaign_id, close_asked_at, close_asked_by, closed_at, closed_by"
)

FUNCTIONS = """
create function privacy.guard_incident() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    me uuid := staff.my_id();
    worker boolean := session_user = 'resocode_worker' and me is null;
    fixed text[] := '{id,form_key,number,title,nature,place,summary,aware_at,opened_at,opened_by}';
    name text;
begin
    if tg_op in ('DELETE', 'TRUNCATE') then
        raise exception 'an incident is kept';
    end if;
    if tg_op = 'INSERT' then
        if new.opened_by is distinct from me or new.closed_at is not null or new.authority <> 'undecided' or new.people <> 'undecided' then
            raise exception 'an incident is recorded in one''s own name' using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    foreach name in array fixed loop
        if pg_catalog.to_jsonb(new) -> name is distinct from pg_catalog.to_jsonb(old) -> name then
            raise exception 'what was recorded of an incident, and when we knew, does not change';
        end if;
    end loop;
    if old.closed_at is not null then
        raise exception 'a closed incident does not change';
    end if;
    if worker then
        if pg_catalog.to_jsonb(new) - '{counted,affected,counted_at}'::text[] is distinct from
           pg_catalog.to_jsonb(old) - '{counted,affected,counted_at}'::text[] then
            raise exception 'the worker counts, and decides nothing' using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    if staff.my_role() is distinct from 'privacy_officer' then
        raise exception 'privacy officers work on incidents' using errcode = 'insufficient_privilege';
    end if;
    if (new.counted, new.affected) is distinct from (old.counted, old.affected) and new.counted is not null then
        raise exception 'the worker counts whom an incident concerns';
    end if;
    if (new.authority, new.authority_reason, new.authority_at) is distinct from (old.authority, old.authority_reason, old.authority_at)
       and (new.authority_by is distinct from me or new.authority_reason = '' or old.notified_at is not null)
       or (new.people, new.people_reason, new.people_at) is distinct from (old.people, old.people_reason, old.people_at)
       and (new.people_by is distinct from me or new.people_reason = '' or old.campaign_id is not null) then
        raise exception 'a decision has its own name and a reason, and stands once it was carried out' using errcode = 'insufficient_privilege';
    end if;
    if new.notified_at is not null and (new.authority <> 'notify' or new.notified_reference = '') then
        raise exception 'a notification follows from its decision, and has a reference';
    end if;
    if new.close_asked_by is distinct from old.close_asked_by and new.close_asked_by is not null and new.close_asked_by is distinct from me then
        raise exception 'one asks in one''s own name' using errcode = 'insufficient_privilege';
    end if;
    if new.closed_at is not null then
        if new.closed_by is distinct from me or old.close_asked_by is null or old.close_asked_by = me then
            raise exception 'one person asks to close an incident, another one closes it' using errcode = 'insufficient_privilege';
        end if;
        perform privacy.demand_fresh(new.closed_at);
    end if;
    if new.close_asked_at is not null and (new.counted_at is null or new.authority = 'undecided' or new.people = 'undecided'
       or new.authority = 'notify' and new.notified_at is null or new.people = 'tell' and new.campaign_id is null) then
        raise exception 'an incident is closed when it was counted, and both decisions were made and carried out';
    end if;
    return new;
end $$;

create function privacy.keep_incident_note() returns trigger language plpgsql set search_path = '' as $$
begin
    raise exception 'what was filed with an incident is kept as it is';
end $$;
"""
CALLERS = {"privacy.guard_incident()": "resocode_owner", "privacy.keep_incident_note()": "resocode_owner"}


def upgrade() -> None:
    """Apply."""
    op.execute("create sequence privacy.incident_number")
    op.execute("grant usage on sequence privacy.incident_number to resocode_app, resocode_worker")
    _tables()
    for table, rule in {"privacy.incident": READERS, "privacy.incident_note": OFFICER}.items():
        rights.close(table)
        rights.app_reads(table, rule)
    rights.close("privacy.incident_person")
    rights.app_adds(
        "privacy.incident",
        f"{OFFICER} and opened_by = (select staff.my_id())",
        "(id, form_key, title, nature, place, summary, aware_at, opened_at, opened_by)",
    )
    rights.app_changes("privacy.incident", OFFICER, f"({CHANGED})")
    rights.app_adds("privacy.incident_note", f"{OFFICER} and filed_by = (select staff.my_id())")
    rights.functions(FUNCTIONS, CALLERS)
    op.execute(
        "create trigger guard before insert or update or delete on privacy.incident"
        " for each row execute function privacy.guard_incident()"
    )
    op.execute(
        "create trigger keep before update or delete on privacy.incident_note"
        " for each row execute function privacy.keep_incident_note()"
    )


def _tables() -> None:
    people = ("opened_by", "authority_by", "people_by", "close_asked_by", "closed_by")
    when = [sa.Column(name, sa.DateTime(timezone=True), nullable=True) for name in
            ("counted_at", "authority_at", "notified_at", "people_at", "close_asked_at", "closed_at")]  # fmt: skip
    words = [sa.Column(name, sa.Text(), server_default=default, nullable=False) for name, default in
             (("authority", "undecided"), ("authority_reason", ""), ("notified_reference", ""), ("people", "undecided"), ("people_reason", ""))]  # fmt: skip
    op.create_table(
        "incident",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("form_key", sa.UUID(), nullable=False),
        sa.Column(
            "number", sa.BigInteger(), server_default=sa.text("nextval('privacy.incident_number')"), nullable=False
        ),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("title", "nature", "place", "summary")),
        sa.Column("aware_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.UUID(), nullable=name != "opened_by") for name in people),
        sa.Column("scope", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("counted", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("affected", sa.Integer(), nullable=True),
        *when,
        *words,
        sa.Column("campaign_id", sa.UUID(), nullable=True),
        sa.CheckConstraint(
            "nature in ('confidentiality', 'integrity', 'availability')", name=op.f("ck_incident_nature_known")
        ),
        sa.CheckConstraint(
            "authority in ('undecided', 'notify', 'not needed')", name=op.f("ck_incident_authority_known")
        ),
        sa.CheckConstraint("people in ('undecided', 'tell', 'not needed')", name=op.f("ck_incident_people_known")),
        sa.CheckConstraint("num_nulls(closed_at, closed_by) in (0, 2)", name=op.f("ck_incident_closed_whole")),
        sa.CheckConstraint("closed_by <> close_asked_by", name=op.f("ck_incident_two_people")),
        sa.CheckConstraint("aware_at <= opened_at", name=op.f("ck_incident_aware_before_opened")),
        *(
            sa.ForeignKeyConstraint([name], ["staff.staff_member.id"], name=op.f(f"fk_incident_{name}"))
            for name in people
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["privacy.campaign.id"], name=op.f("fk_incident_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
        sa.UniqueConstraint("form_key", name=op.f("uq_incident_form_key")),
        sa.UniqueConstraint("number", name=op.f("uq_incident_number")),
        schema="privacy",
    )
    for name in (*people, "campaign_id"):
        op.create_index(op.f(f"ix_incident_{name}"), "incident", [name], unique=False, schema="privacy")
    op.create_index(
        "ix_incident_aware",
        "incident",
        [sa.literal_column("aware_at desc"), sa.literal_column("id desc")],
        unique=False,
        schema="privacy",
    )
    op.create_table(
        "incident_note",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("form_key", sa.UUID(), nullable=False),
        sa.Column("incident_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), server_default="", nullable=False),
        sa.Column("reference", sa.Text(), server_default="", nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("filed_by", sa.UUID(), nullable=False),
        sa.CheckConstraint(
            "kind in ('note', 'report of a processor', 'correspondence')", name=op.f("ck_incident_note_kind_known")
        ),
        sa.ForeignKeyConstraint(["incident_id"], ["privacy.incident.id"], name=op.f("fk_incident_note_incident_id")),
        sa.ForeignKeyConstraint(["filed_by"], ["staff.staff_member.id"], name=op.f("fk_incident_note_filed_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident_note")),
        sa.UniqueConstraint("form_key", name=op.f("uq_incident_note_form_key")),
        schema="privacy",
    )
    op.create_index(
        "ix_incident_note_incident_id", "incident_note", ["incident_id", "filed_at"], unique=False, schema="privacy"
    )
    op.create_index(op.f("ix_incident_note_filed_by"), "incident_note", ["filed_by"], unique=False, schema="privacy")
    op.create_table(
        "incident_person",
        sa.Column("incident_id", sa.UUID(), nullable=False),
        sa.Column("student_id", sa.UUID(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["privacy.incident.id"], name=op.f("fk_incident_person_incident_id")),
        sa.ForeignKeyConstraint(["student_id"], ["platform.student.id"], name=op.f("fk_incident_person_student_id")),
        sa.PrimaryKeyConstraint("incident_id", "student_id", name=op.f("pk_incident_person")),
        schema="privacy",
    )
    op.create_index(
        op.f("ix_incident_person_student_id"), "incident_person", ["student_id"], unique=False, schema="privacy"
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
