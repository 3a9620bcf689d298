"""What is known about the promises: checks and their history, attestations, alerts; samples of closed requests.

Danger: a promise is made green by hand. Principle: only the worker writes how a promise stands; people attest in their own
name what no program can see, and nobody changes what was attested. Mechanism: the dashboard's role reads; it adds an
attestation or an order to check as whoever is signed in; a sample is drawn by a function that takes its scope inside.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import rights

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

KEEPERS = "(select staff.my_role()) in ('privacy_officer', 'admin')"
READERS = "(select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')"
ME = "(select staff.my_id())"

FUNCTIONS = """
-- What was attested stands as it is; it may be withdrawn once, by somebody in their own name.
create function privacy.guard_attestation() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'INSERT' then
        perform privacy.demand_fresh(new.given_at);
        if new.expires_on <= (new.given_at at time zone 'UTC')::date or new.expires_on > (new.given_at at time zone 'UTC')::date + 366 then
            raise exception 'an attestation holds for a year at most';
        end if;
        return new;
    end if;
    if old.withdrawn_at is not null
       or pg_catalog.to_jsonb(new) - '{withdrawn_at,withdrawn_by}'::text[] is distinct from pg_catalog.to_jsonb(old) - '{withdrawn_at,withdrawn_by}'::text[] then
        raise exception 'what was attested does not change';
    end if;
    if new.withdrawn_by is distinct from staff.my_id() then
        raise exception 'an attestation is withdrawn in one''s own name' using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;

create function privacy.may_own_attestation(p_staff uuid) returns boolean
language sql stable security definer set search_path = '' as $$
    select exists (select from staff.staff_member m where m.id = p_staff and m.disabled_at is null)
$$;

-- Who answers for attestations, by name: colleagues only.
create function privacy.attestation_owners() returns table (id uuid, name text, works boolean)
language sql stable security definer set search_path = '' as $$
    select m.id, m.name, m.disabled_at is null from staff.staff_member m
    where staff.my_role() in ('privacy_officer', 'admin', 'auditor')
      and (m.id in (select a.owner_id from privacy.attestation a union select a.given_by from privacy.attestation a)
           or (m.disabled_at is null and m.role in ('privacy_officer', 'admin')))
$$;

-- The requests that a seed draws: in the order of SHA-256 over "seed:number", which anybody can repeat by hand.
create function privacy.sampled(p_seed text, p_size int, p_from timestamptz, p_to timestamptz)
returns table (id uuid, population bigint)
language sql stable security definer set search_path = '' as $$
    select r.id, count(*) over () from privacy.request r
    where r.closed_at >= p_from and r.closed_at < p_to and staff.my_role() in ('auditor', 'privacy_officer')
    order by pg_catalog.sha256(pg_catalog.convert_to(p_seed || ':' || r.number::text, 'UTF8')), r.number
    limit p_size
$$;

create function privacy.draw_sample(p_id uuid, p_seed text, p_size int, p_from timestamptz, p_to timestamptz, p_now timestamptz)
returns int language plpgsql security definer set search_path = '' as $$
declare
    drawn uuid[];
    people bigint;
begin
    if staff.my_role() is null or staff.my_role() not in ('auditor', 'privacy_officer') then
        raise exception 'auditors and privacy officers draw samples' using errcode = 'insufficient_privilege';
    end if;
    select pg_catalog.array_agg(s.id), max(s.population) into drawn, people from privacy.sampled(p_seed, p_size, p_from, p_to) s;
    insert into privacy.sample_draw (id, seed, size, closed_from, closed_to, population, requests, drawn_by, drawn_at)
    values (p_id, p_seed, p_size, p_from, p_to, coalesce(people, 0), coalesce(drawn, '{}'), staff.my_id(), p_now);
    return coalesce(pg_catalog.cardinality(drawn), 0);
end $$;

-- What a drawn request shows of how it was kept: codes, instants and counts. Nobody's name, id or words.
create function privacy.sample_evidence(p_draw uuid)
returns table (
    place int, number bigint, kind text, state text, outcome text, channel text, requester text, policy_version text,
    received_at timestamptz, due_at timestamptz, answered_at timestamptz, closed_at timestamptz, extended_months int,
    identity text, identity_method text, early boolean, grace_ends_at timestamptz, approvals bigint,
    moves jsonb, clock jsonb, letters jsonb, steps jsonb, certificate bigint, sha256 text
) language sql stable security definer set search_path = '' as $$
    select d.place::int, r.number, r.kind, r.state, r.outcome, r.channel, r.requester, r.policy_version, r.received_at, r.due_at,
        r.answered_at, r.closed_at, r.extended_months::int, r.identity, r.identity_method, r.early, r.grace_ends_at,
        (select count(*) from privacy.approval a where a.request_id = r.id),
        (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('at', m.moved_at, 'from', m.from_state, 'to', m.to_state,
            'by', case when m.moved_by is null then 'the worker' else 'staff' end) order by m.version, m.moved_at), '[]')
         from privacy.request_move m where m.request_id = r.id),
        (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('at', c.at, 'what', c.what, 'reason', c.reason, 'months', c.months)
            order by c.version, c.at), '[]') from privacy.request_clock c where c.request_id = r.id),
        (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('kind', o.kind, 'state', o.state, 'sent', o.sent_at)
            order by o.written_at), '[]') from privacy.outbox o where o.request_id = r.id),
        (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('place', s.place, 'state', s.state, 'proven', s.proven_at,
            'why', s.error) order by s.phase, s.place), '[]')
         from privacy.erasure_step s join privacy.erasure e on e.id = s.erasure_id where e.request_id = r.id),
        (select c.number from privacy.erasure_certificate c join privacy.erasure e on e.id = c.erasure_id where e.request_id = r.id),
        (select c.sha256 from privacy.erasure_certificate c join privacy.erasure e on e.id = c.erasure_id where e.request_id = r.id)
    from privacy.sample_draw w, unnest(w.requests) with ordinality d(id, place) join privacy.request r on r.id = d.id
    where w.id = p_draw and staff.my_role() in ('auditor', 'privacy_officer')
    order by d.place
$$;
"""

CALLERS = {
    "privacy.guard_attestation()": "resocode_owner",
    "privacy.may_own_attestation(uuid)": "resocode_app",
    "privacy.attestation_owners()": "resocode_app",
    "privacy.sampled(text, int, timestamptz, timestamptz)": "resocode_app",
    "privacy.draw_sample(uuid, text, int, timestamptz, timestamptz, timestamptz)": "resocode_app",
    "privacy.sample_evidence(uuid)": "resocode_app",
}


def _at(name: str, *, null: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _staff(name: str, table: str, *, null: bool = False) -> tuple[sa.Column, sa.ForeignKeyConstraint]:  # type: ignore[type-arg]
    return sa.Column(name, sa.UUID(), nullable=null), sa.ForeignKeyConstraint(
        [name], ["staff.staff_member.id"], name=op.f(f"fk_{table}_{name}")
    )


def _known(table: str, column: str, values: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} in ({values})", name=op.f(f"ck_{table}_{column}_known"))


STATES = "'holds', 'at risk', 'broken', 'not proven'"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "check_run",
        sa.Column("id", sa.UUID(), nullable=False),
        _at("asked_at"), *_staff("asked_by", "check_run", null=True), _at("finished_at", null=True),
        sa.Column("counts", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check_run")),
        schema="privacy",
    )  # fmt: skip
    op.create_index(op.f("ix_check_run_asked_by"), "check_run", ["asked_by"], schema="privacy")
    op.create_index("ix_check_run_finished", "check_run", [sa.text("finished_at desc")], schema="privacy")
    op.create_index("uq_check_run_asked", "check_run", [sa.text("(finished_at is null)")], unique=True, schema="privacy",
                    postgresql_where=sa.text("finished_at is null"))  # fmt: skip
    op.create_table(
        "promise_state",
        sa.Column("promise", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        _at("since"), _at("checked_at"), _at("proven_at", null=True),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        _known("promise_state", "state", STATES),
        sa.PrimaryKeyConstraint("promise", name=op.f("pk_promise_state")),
        schema="privacy",
    )  # fmt: skip
    op.create_table(
        "promise_check",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("promise", sa.Text(), nullable=False),
        _at("at"),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        _known("promise_check", "state", STATES),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promise_check")),
        schema="privacy",
    )
    op.create_index("ix_promise_check_promise", "promise_check", ["promise", sa.text("at desc")], schema="privacy")
    op.create_table(
        "attestation",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("promise", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        *_staff("owner_id", "attestation"), *_staff("given_by", "attestation"),
        _at("given_at"), sa.Column("expires_on", sa.Date(), nullable=False), _at("withdrawn_at", null=True),
        *_staff("withdrawn_by", "attestation", null=True),
        sa.CheckConstraint("char_length(statement) between 20 and 2000", name=op.f("ck_attestation_statement_length")),
        sa.CheckConstraint("(withdrawn_at is null) = (withdrawn_by is null)", name=op.f("ck_attestation_withdrawn_whole")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attestation")),
        schema="privacy",
    )  # fmt: skip
    for column in ("owner_id", "given_by", "withdrawn_by"):
        op.create_index(op.f(f"ix_attestation_{column}"), "attestation", [column], schema="privacy")
    op.create_index(
        "ix_attestation_promise", "attestation", ["promise", "place", sa.text("given_at desc")], schema="privacy"
    )
    op.create_table(
        "promise_alert",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("promise", sa.Text(), nullable=False),
        _at("since"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        _at("made_at"), _at("next_at"),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        _at("sent_at", null=True),
        _known("promise_alert", "kind", "'broken', 'resolved'"),
        _known("promise_alert", "channel", "'mail', 'webhook'"),
        _known("promise_alert", "state", "'waiting', 'sent', 'failed'"),
        sa.CheckConstraint("(state = 'sent') = (sent_at is not null)", name=op.f("ck_promise_alert_sent_has_date")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promise_alert")),
        sa.UniqueConstraint("promise", "since", "kind", "channel", "target",
                            name=op.f("uq_promise_alert_promise_since_kind_channel_target")),
        schema="privacy",
    )  # fmt: skip
    op.create_index("ix_promise_alert_waiting", "promise_alert", ["next_at"], schema="privacy",
                    postgresql_where=sa.text("state = 'waiting'"))  # fmt: skip
    op.create_table(
        "sample_draw",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        sa.Column("size", sa.SmallInteger(), nullable=False),
        _at("closed_from"), _at("closed_to"),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("requests", postgresql.ARRAY(sa.UUID()), nullable=False),
        *_staff("drawn_by", "sample_draw"), _at("drawn_at"),
        sa.CheckConstraint("size between 1 and 100", name=op.f("ck_sample_draw_size_range")),
        sa.CheckConstraint("closed_from < closed_to and closed_to <= drawn_at", name=op.f("ck_sample_draw_period")),
        sa.CheckConstraint("char_length(seed) between 1 and 64", name=op.f("ck_sample_draw_seed_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sample_draw")),
        schema="privacy",
    )  # fmt: skip
    op.create_index(op.f("ix_sample_draw_drawn_by"), "sample_draw", ["drawn_by"], schema="privacy")

    for table in ("check_run", "promise_state", "promise_check", "attestation", "promise_alert", "sample_draw"):
        rights.close(f"privacy.{table}")
        rights.app_reads(f"privacy.{table}", READERS)
    op.execute("revoke update on privacy.promise_check from resocode_worker")
    op.execute("revoke insert, update on privacy.attestation, privacy.sample_draw from resocode_worker")
    rights.app_adds(
        "privacy.check_run", f"{KEEPERS} and asked_by = {ME} and finished_at is null", "(id, asked_at, asked_by)"
    )
    rights.functions(FUNCTIONS, CALLERS)
    rights.app_adds(
        "privacy.attestation",
        f"{KEEPERS} and given_by = {ME} and withdrawn_at is null and privacy.may_own_attestation(owner_id)",
        "(id, promise, place, statement, owner_id, given_by, given_at, expires_on)",
    )
    rights.app_changes("privacy.attestation", KEEPERS, "(withdrawn_at, withdrawn_by)")
    rights.let_definer("privacy.sample_draw", "insert")
    op.execute(
        "create trigger guard_attestation before insert or update on privacy.attestation"
        " for each row execute function privacy.guard_attestation()"
    )


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
