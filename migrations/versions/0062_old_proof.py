"""Old proof goes: closed requests with all that hangs on them, certificates and released holds, three years after their end.

Danger: proof goes that somebody still needs, or a database of today looks like a restored one because an erasure that the ledger
knows is not in it any more. Principle: a request stays while a hold stands on its person, while a decision that follows from it
stands with the person, and while anything about it is open; what is left of an erasure is its opaque id. Mechanism:
``privacy.old_requests`` is asked by a run and by the page; ``privacy.past_erasure``; triggers still refuse what is younger.
"""

import sqlalchemy as sa
from alembic import op

from migrations import rights

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None

FUNCTIONS = """
-- Requests that were closed before p_before. kept: why one stays all the same ("hold", "needed"), null: it goes.
create function privacy.old_requests(p_before timestamptz) returns table (request uuid, closed_at timestamptz, kept text)
language sql stable security definer set search_path = '' as $$
    with held as (
        select coalesce(s.email_hash, v.email_hash) as hash from privacy.legal_hold h
        left join platform.student s on s.id = h.student_id left join platform.visitor v on v.id = h.visitor_id
        where h.released_at is null and (h.scope_table is null or h.scope_table in (
            'privacy.request', 'privacy.request_text', 'privacy.outbox', 'privacy.manual_step', 'privacy.artifact', 'privacy.export_text'))
    )
    select r.id, r.closed_at, case
        when exists (
            select from held h left join platform.student s on s.id = r.student_id left join platform.visitor v on v.id = r.visitor_id
            where h.hash in (s.email_hash, v.email_hash)) then 'hold'
        when exists (select from privacy.correction c where c.request_id = r.id)
          or exists (select from privacy.restriction x where x.request_id = r.id)
          or exists (select from privacy.objection o where o.request_id = r.id)
          or exists (select from privacy.opt_out o where o.request_id = r.id)
          or exists (select from privacy.lapse l where l.request_id = r.id)
          or exists (select from privacy.outbox o where o.request_id = r.id and o.state not in ('sent', 'canceled'))
          or exists (select from privacy.propagation p where p.request_id = r.id and p.state not in ('done', 'canceled'))
          or exists (select from privacy.manual_step m where m.request_id = r.id and (
                m.state not in ('confirmed', 'canceled') or coalesce(m.confirmed_at, m.made_at) > p_before))
          or exists (select from privacy.artifact a where a.kind = 'export' and a.owner_id = r.id and a.destroyed_at is null)
          or exists (select from privacy.erasure e where e.request_id = r.id and coalesce(e.finished_at, 'infinity') > p_before
                and e.begun_at is not null)
          or exists (select from privacy.erasure e join privacy.erasure_certificate c on c.erasure_id = e.id where e.request_id = r.id)
            then 'needed'
        end
    from privacy.request r where r.closed_at <= p_before
    order by r.closed_at, r.id
$$;

-- How proof stands: the oldest of each kind that goes by its age, how many are due, how many of those a hold keeps. Nobody's rows.
create function privacy.proof_state(p_before timestamptz) returns table (rule text, oldest timestamptz, due bigint, held bigint)
language plpgsql stable security definer set search_path = '' as $$
begin
    if not (staff.my_role() in ('privacy_officer', 'admin', 'auditor') or session_user = 'resocode_worker') then
        return;
    end if;
    return query select 'closed requests', coalesce(min(o.closed_at) filter (where o.kept is null),
            (select min(r.closed_at) from privacy.request r where r.closed_at > p_before)),
        count(*) filter (where o.kept is null), count(*) filter (where o.kept = 'hold') from privacy.old_requests(p_before) o;
    return query select 'certificates of erasure', min(c.issued_at), count(*) filter (where c.issued_at <= p_before), 0::bigint
        from privacy.erasure_certificate c;
    return query select 'released holds', min(h.released_at), count(*) filter (where h.released_at <= p_before), 0::bigint
        from privacy.legal_hold h where h.released_at is not null;
end $$;

-- As in 0017; steps and evidence go when their erasure may.
create or replace function privacy.guard_erasure() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    of privacy.erasure;
begin
    if tg_op = 'DELETE' then
        select * into of from privacy.erasure e
        where e.id = (pg_catalog.to_jsonb(old) ->> case tg_table_name when 'erasure' then 'id' else 'erasure_id' end)::uuid;
        if of.finished_at > pg_catalog.now() - interval '3 years' or (of.finished_at is null and not (of.begun_at is null and exists (
               select from privacy.request r where r.id = of.request_id and r.closed_at <= pg_catalog.now() - interval '3 years'))) then
            raise exception 'erasures are kept for three years after their end';
        end if;
        return old;
    end if;
    if tg_table_name = 'erasure_evidence' and tg_op = 'UPDATE' then
        raise exception 'evidence is only added to';
    end if;
    if tg_table_name = 'erasure' then
        if tg_op = 'UPDATE' and (old.finished_at is not null or (new.id, new.request_id, new.kind, new.made_at)
           is distinct from (old.id, old.request_id, old.kind, old.made_at)) then
            raise exception 'an erasure that is finished does not change, nor whose it is';
        end if;
        return new;
    end if;
    select * into of from privacy.erasure e where e.id = new.erasure_id;
    if of.finished_at is not null then
        raise exception 'an erasure that is finished does not change';
    end if;
    return new;
end $$;

-- As in 0023; an erasure whose proof is past its period is known by what is left of it.
create or replace function privacy.compared(p_erasures uuid[], p_canceled uuid[],
    out unknown uuid[], out uncanceled uuid[], out lines bigint, out unwritten uuid[])
language sql stable security definer set search_path = '' as $$
    select
        array(select e from unnest(p_erasures) e
              where not exists (select from privacy.suppression s where s.erasure_id = e)
                and not exists (select from privacy.erasure x where x.id = e and x.begun_at is not null)
                and not exists (select from privacy.past_erasure p where p.id = e)),
        array(select r.id from privacy.request r where r.id = any (p_canceled) and r.kind = 'delete'
                and r.state in ('to approve', 'waiting') and r.student_id is not null),
        (select coalesce(max(a.seq), 0) from privacy.audit_event a),
        array(select s.erasure_id from privacy.erasure_step s
              where s.what = 'ledger' and s.state = 'proven' and s.erasure_id <> all (p_erasures)
                and exists (select from privacy.suppression x where x.erasure_id = s.erasure_id and x.until > pg_catalog.now()))
$$;
"""

CALLERS = {
    "privacy.old_requests(timestamptz)": "resocode_worker",
    "privacy.proof_state(timestamptz)": "resocode_app, resocode_worker",
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "past_erasure",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_past_erasure")),
        schema="privacy",
    )
    rights.close("privacy.past_erasure")
    rights.functions(FUNCTIONS, CALLERS)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
