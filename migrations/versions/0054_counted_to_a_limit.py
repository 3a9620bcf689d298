"""Figures of Today and Consent that stop counting at a thousand, and cases in their order from an index.

Danger: a page that waits for a count of everybody: ages not declared, cases of consent, old mail. Principle: nobody works through more than
a thousand at once; beyond that a screen says "more than 1,000", and the exact figure comes with the hourly proof of the promise. Mechanism:
each need of a case is one condition that an index answers (the case expression of ``privacy.consent_cases``, taken apart), counted up to one
more than is shown; a page of cases reads need after need in the order of that index and stops when it is full.
"""

from alembic import op

from migrations import rights

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None

INDEXES = """
create index ix_consent_given on privacy.consent ((coalesce(entered_at, '-infinity'::timestamptz)), student_id) where state = 'given';
create index ix_consent_requested on privacy.consent ((coalesce(requested_at, '-infinity'::timestamptz)), student_id) where state = 'requested';
create index ix_consent_verified on privacy.consent ((coalesce(verified_at, '-infinity'::timestamptz)), student_id) where state = 'verified';
create index ix_consent_changed on privacy.consent (state, (coalesce(changed_at, declared_at, '-infinity'::timestamptz)), student_id) where state <> 'not needed';
create index ix_consent_answer on privacy.consent (answer_by, student_id)
    where adult is null and birth_date is null and state = 'not needed' and asked_at is not null;
create index ix_consent_not_asked on privacy.consent (student_id)
    where adult is null and birth_date is null and state = 'not needed' and asked_at is null;
create index ix_student_closed_at on platform.student (closed_at) where closed_at is not null;
"""

FUNCTIONS = """
-- As in 0048; what may be many is counted up to 1,001.
create or replace function privacy.promise_counts(p_now timestamptz, p_log_days int, p_grace_days int)
returns table (
    open_requests bigint, overdue_requests bigint, due_soon_requests bigint, minors_without_consent bigint,
    ages_not_declared bigint, old_mail_logs bigint, oldest_mail_log timestamptz, closed_in_grace bigint,
    closed_past_grace bigint
) language sql stable security definer set search_path = '' as $$
    select
        (select count(*) from privacy.request r where r.closed_at is null and r.source <> 'canary'),
        (select count(*) from privacy.request r where r.closed_at is null and r.source <> 'canary' and r.answered_at is null
            and r.paused_at is null and r.due_at < p_now),
        (select count(*) from privacy.request r where r.closed_at is null and r.source <> 'canary' and r.answered_at is null
            and r.paused_at is null and r.due_at >= p_now and r.due_at < p_now + interval '7 days'),
        (select count(*) from (select from privacy.consent c where c.state in ('missing', 'requested', 'given', 'refused', 'withdrawn')
            and c.student_id not in (select s.id from platform.student s where s.account_status = 'closed') limit 1001) capped),
        (select count(*) from (select from privacy.consent c where c.adult is null and c.birth_date is null and c.state = 'not needed'
            and c.student_id not in (select s.id from platform.student s where s.account_status = 'closed') limit 1001) capped),
        (select count(*) from (select from platform.email_log l where l.sent_at < p_now - p_log_days * interval '1 day' limit 1001) capped),
        (select min(l.sent_at) from platform.email_log l),
        (select count(*) from (select from platform.student s where s.closed_at > p_now - p_grace_days * interval '24 hours'
            and s.id <> all ((select privacy.living_canaries())::uuid[]) limit 1001) capped),
        (select count(*) from (select from platform.student s where s.closed_at <= p_now - p_grace_days * interval '24 hours'
            and s.id <> all ((select privacy.living_canaries())::uuid[]) limit 1001) capped)
    where (select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')
$$;

-- One need of the cases of consent as SELECT with since (what its list is ordered by, longest first) and letter (the last one to them): one
-- text for each part that an index keeps in this order. The conditions are those of privacy.consent_cases (0033), which decides in the order
-- of its places. $1 p_adult, $2 p_allowed, $3 p_soon, $4 p_silent, $5 p_now.
create function privacy.consent_parts(p_need text, p_counted boolean) returns text[]
language plpgsql immutable set search_path = '' as $$
declare
    -- A page looks each case up by its student (limit: a merge of both tables would read every student); a count leaves out the few who closed.
    part constant text := 'select c.student_id, c.number, c.state, c.entered_by, coalesce(%s, ''-infinity'') as since,'
        || ' coalesce(greatest(c.asked_at, c.requested_at, c.reminded_at), ''-infinity'') as letter' || case when p_counted then
            ' from privacy.consent c where c.student_id not in (select s.id from platform.student s where s.account_status = ''closed'') and '
            else ', s.registered_at from privacy.consent c cross join lateral (select s.registered_at from platform.student s'
                || ' where s.id = c.student_id and s.account_status = ''open'' limit 1) s where ' end;
    of_age constant text := ' and (c.birth_date is null or c.birth_date > $1 and c.birth_date <= $2)';
    changed constant text := pg_catalog.format(part, 'c.changed_at, c.declared_at');
    asked constant text := pg_catalog.format(part, 'c.requested_at') || 'c.state = ''requested''' || of_age;
    kept constant text := pg_catalog.format(part, 'c.verified_at') || 'c.state = ''verified''' || of_age;
    silent constant text := pg_catalog.format(part, 'c.answer_by') || 'c.adult is null and c.birth_date is null and c.state = ''not needed''';
begin
    return case p_need
        when 'below' then array[changed || 'c.birth_date > $2']
        when 'lapsed' then array[
            changed || 'c.state = ''lapsed'' and (c.birth_date is null or c.birth_date <= $2)',
            changed || 'c.state <> ''lapsed'' and c.birth_date <= $1']
        when 'verify' then array[pg_catalog.format(part, 'c.entered_at') || 'c.state = ''given''' || of_age]
        when 'missing' then array[
            changed || 'c.state = ''missing''' || of_age, changed || 'c.state = ''refused''' || of_age,
            changed || 'c.state = ''withdrawn''' || of_age]
        when 'silent' then array[asked || ' and coalesce(greatest(c.requested_at, c.reminded_at), ''-infinity'') <= $4']
        when 'requested' then array[asked || ' and greatest(c.requested_at, c.reminded_at) > $4']
        when 'lapsing' then array[kept || ' and c.birth_date <= $3']
        when 'verified' then array[kept || ' and (c.birth_date is null or c.birth_date > $3)']
        when 'not answered' then array[silent || ' and c.asked_at is not null and c.answer_by <= $5']
        when 'asked' then array[silent || ' and c.asked_at is not null and c.answer_by > $5']
        when 'not asked' then array[pg_catalog.replace(silent, 'coalesce(c.answer_by, ''-infinity'')', '''-infinity''::timestamptz')
            || ' and c.asked_at is null']
    end;
end $$;

-- How many cases there are of each need, up to p_cap, and how many of these whoever asks has entered.
create function privacy.consent_counts(
    p_adult date, p_allowed date, p_soon date, p_silent timestamptz, p_now timestamptz, p_cap int
) returns table (need text, many bigint, mine bigint) language plpgsql stable security definer set search_path = '' as $$
begin
    if not ((select staff.my_role()) is not distinct from 'privacy_officer' or session_user = 'resocode_worker') then
        return;
    end if;
    foreach need in array array['below', 'verify', 'missing', 'silent', 'lapsed', 'not answered', 'lapsing', 'requested', 'not asked',
            'asked', 'verified'] loop
        execute 'select count(*), count(*) filter (where k.entered_by = $7) from (select p.entered_by from (('
            || pg_catalog.array_to_string(privacy.consent_parts(need, true), ') union all (') || ')) p limit $6) k'
        into many, mine using p_adult, p_allowed, p_soon, p_silent, p_now, p_cap, staff.my_id();
        continue when many = 0;
        return next;
    end loop;
end $$;

-- How many people in one of these needs a letter to many would reach, up to p_cap of each (null: all); nobody who had one since p_silent.
create function privacy.consent_reach(
    p_needs text[], p_adult date, p_allowed date, p_soon date, p_silent timestamptz, p_now timestamptz, p_cap int
) returns bigint language plpgsql stable security definer set search_path = '' as $$
declare
    one text;
    many bigint;
    found bigint := 0;
begin
    if not ((select staff.my_role()) is not distinct from 'privacy_officer' or session_user = 'resocode_worker') then
        return 0;
    end if;
    foreach one in array p_needs loop
        execute 'select count(*) from (select from ((' || pg_catalog.array_to_string(privacy.consent_parts(one, true), ') union all (')
            || ')) k where k.letter <= $4 limit $6) capped'
        into many using p_adult, p_allowed, p_soon, p_silent, p_now, p_cap;
        found := found + many;
    end loop;
    return found;
end $$;

-- A page of the cases of these needs: most urgent need first (rank), longest so first; behind a case that was shown.
create function privacy.consent_page(
    p_needs text[], p_adult date, p_allowed date, p_soon date, p_silent timestamptz, p_now timestamptz,
    p_after_rank int, p_after_since timestamptz, p_after_id uuid, p_limit int
) returns table (
    student_id uuid, number bigint, state text, need text, rank int, since timestamptz, began timestamptz, mine boolean
) language plpgsql stable security definer set search_path = '' as $$
declare
    places constant text[] := array['below', 'verify', 'missing', 'silent', 'lapsed', 'not answered', 'lapsing', 'requested', 'not asked',
        'asked', 'verified'];
    one text;
    many int;
    left_over int := p_limit;
    behind text;
begin
    if not ((select staff.my_role()) is not distinct from 'privacy_officer' or session_user = 'resocode_worker') then
        return;
    end if;
    foreach one in array places loop
        rank := pg_catalog.array_position(places, one);
        continue when one <> all (p_needs) or rank < p_after_rank;
        behind := case when rank = p_after_rank then ' where (k.since, k.student_id) > ($6, $7)' else '' end;
        return query execute
            'select k.student_id, k.number, k.state, $9, $10, k.since, case $9 when ''not asked'' then k.registered_at else nullif(k.since, ''-infinity'') end, coalesce(k.entered_by = $11, false) from (('
            || (select pg_catalog.string_agg('select * from (' || p || ') k' || behind || ' order by k.since, k.student_id limit $8', ') union all (')
                from pg_catalog.unnest(privacy.consent_parts(one, false)) p)
            || ')) k order by k.since, k.student_id limit $8'
        using p_adult, p_allowed, p_soon, p_silent, p_now, p_after_since, p_after_id, left_over, one, rank, staff.my_id();
        get diagnostics many = row_count;
        left_over := left_over - many;
        exit when left_over <= 0;
    end loop;
end $$;
"""

CALLERS = {
    "privacy.consent_parts(text, boolean)": "resocode_definer",
    "privacy.consent_counts(date, date, date, timestamptz, timestamptz, int)": "resocode_app, resocode_worker",
    "privacy.consent_reach(text[], date, date, date, timestamptz, timestamptz, int)": "resocode_app, resocode_worker",
    "privacy.consent_page(text[], date, date, date, timestamptz, timestamptz, int, timestamptz, uuid, int)": "resocode_app, resocode_worker",
}  # fmt: skip


def upgrade() -> None:
    """Apply."""
    op.execute(INDEXES)
    rights.functions(FUNCTIONS, CALLERS)


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
