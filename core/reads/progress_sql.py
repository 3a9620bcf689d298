"""The statements of core.reads.progress, put together from constant parts; every value is bound.

Each looks at the cohorts it is given as arrays and lays what it finds of an enrollment in one heap, so that its cost follows
the number of students in these cohorts and nothing else.
"""

from sqlalchemy import text

from core.models.platform import HELP_LIMITS

CLICK_DAYS = 14
CLICK_WINDOW = 60

COHORT = f"""c.id, c.code, c.title, p.title as program, c.starts_on, c.ends_on,
        {", ".join(f"l.{name}" for name in HELP_LIMITS)},
        m.modules, m.due"""
# What a cohort c is told with: :today is asked; and who is there, :now.
OF_COHORT = """join platform.program p on p.id = c.program_id
    left join platform.help_limit l on l.cohort_id = c.id
    cross join lateral (
        select count(*)::int as modules,
            (count(*) filter (where c.starts_on + m.due_day < least(:today, c.ends_on)))::int as due
        from platform.module m where m.cohort_id = c.id or (m.cohort_id is null and m.program_id = c.program_id)
    ) m"""
_WHO_IS_THERE = """cross join lateral (
        select count(*)::int as students from platform.enrollment e
        where e.cohort_id = c.id and e.enrolled_at <= :now and (e.withdrawn_at is null or e.withdrawn_at > :now)
    ) n
    cross join lateral (
        select count(*)::int as waiting, min(s.submitted_at) as oldest_waiting from platform.submission s
        join platform.enrollment e on e.id = s.enrollment_id
        where s.cohort_id = c.id and s.status = 'waiting for review' and s.submitted_at <= :now
          and (e.withdrawn_at is null or e.withdrawn_at > :now)
    ) w"""
TAUGHT = text(f"""
    select {COHORT}, n.students, w.waiting, w.oldest_waiting from platform.cohort c {OF_COHORT} {_WHO_IS_THERE}
    where c.id = any ((select staff.my_cohorts())::uuid[])""")

# One student's enrollments in the cohorts of whoever asks, each with its cohort.
STUDENT = text(f"""
    select s.id as student_id, s.name, s.email, s.source, s.source_key, e.id as enrollment_id, e.status, e.enrolled_at, e.withdrawn_at,
        {COHORT}
    from platform.student s join platform.enrollment e on e.student_id = s.id join platform.cohort c on c.id = e.cohort_id {OF_COHORT}
    where s.id = :student and e.cohort_id = any ((select staff.my_cohorts())::uuid[])""")

# The cohorts asked for, each with its day and its limits; what is not assigned is left out before anything is read.
_COHORTS = """
    with cohorts as (
        select * from unnest(
            cast(:ids as uuid[]), cast(:as_of as timestamptz[]), cast(:starts_on as date[]), cast(:modules as int[]),
            cast(:due as int[]), cast(:quiet as int[]), cast(:behind as int[]), cast(:failed as int[]), cast(:waiting as int[]),
            cast(:clicks as int[])
        ) as c (id, as_of, starts_on, modules, due, quiet, behind, failed, waiting, clicks)
        where c.id = any ((select staff.my_cohorts())::uuid[])
    )"""
# Those who are there as of the day, and how far they are. What belongs to one enrollment is laid in one heap and grouped
# once: joins of such parts would be planned for a handful of rows, and be quadratic in a cohort of two thousand.
_MEMBERS = """
        select e.id as enrollment_id, e.cohort_id, e.student_id, e.enrolled_at, {more}
        from cohorts c join platform.enrollment e on e.cohort_id = c.id
        where e.enrolled_at <= c.as_of and (e.withdrawn_at is null or e.withdrawn_at > c.as_of)"""
_PROGRESS = """
        select p.enrollment_id, p.cohort_id, null, null, {more}
        from cohorts c join platform.module_progress p on p.cohort_id = c.id"""
_STUDENT = "(array_agg(h.student_id) filter (where h.student_id is not null))[1] as student_id"
# Only what has happened by the day counts.
_DONE = "p.status = 'done' and coalesce(p.done_at, p.active_at, p.started_at, c.as_of) <= c.as_of"
_ACTIVE = """greatest(case when p.started_at <= c.as_of then p.started_at end, case when p.active_at <= c.as_of then p.active_at end,
            case when p.done_at <= c.as_of then p.done_at end)"""

STAND = text(f"""{_COHORTS}, heap as ({_MEMBERS.format(more="null::uuid as module_id")}
        union all {_PROGRESS.format(more="p.module_id")} where {_DONE}
    ), standing as (
        select h.enrollment_id, array_remove(array_agg(h.module_id), null) as done
        from heap h group by 1 having count(h.student_id) > 0
    ), by_module as (
        select d.module_id, count(*)::int as done from standing s cross join unnest(s.done) as d (module_id) group by 1
    ), whole as (
        select count(*)::int as students, (count(*) filter (where cardinality(s.done) >= c.due))::int as on_plan,
            percentile_disc(0.5) within group (order by cardinality(s.done)) as median
        from standing s cross join cohorts c
    ), gone as (
        select count(*)::int as withdrawn from cohorts c join platform.enrollment e on e.cohort_id = c.id
        where e.withdrawn_at <= c.as_of
    ), modules as (
        select m.id, m.position, m.title, m.kind, m.due_day from cohorts c join platform.cohort o on o.id = c.id
        join platform.module m on m.cohort_id = c.id or (m.cohort_id is null and m.program_id = o.program_id)
    )
    select m.id, m.position, m.title, m.kind, m.due_day, coalesce(b.done, 0) as done, w.*, g.*
    from whole w cross join gone g left join modules m on true left join by_module b on b.module_id = m.id
    order by m.position, m.id""")

# Whoever objects is taught like everybody, and neither ordered nor marked by need of help.
_OBJECTING = "any ((select staff.my_objecting())::uuid[])"

MATRIX = {
    name: text(f"""{_COHORTS}, heap as ({_MEMBERS.format(more="0 as done, null::timestamptz as active")}
        union all {_PROGRESS.format(more=f"({_DONE})::int, {_ACTIVE}")}
    ), standing as (
        select h.enrollment_id, {_STUDENT}, sum(h.done)::int as done, max(h.active) as active
        from heap h group by 1 having count(h.student_id) > 0
    ), page as (
        select g.*, count(*) over () as students from standing g {joined}
        order by {order}, g.enrollment_id limit :limit offset :offset
    )
    select g.enrollment_id, g.student_id, s.name, g.done, g.active as last_active,
        g.students::int as students
    from page g join platform.student s on s.id = g.student_id
    order by {order}, g.enrollment_id""")
    for name, joined, order in (
        ("behind", "", f"g.enrollment_id = {_OBJECTING}, g.done, g.active nulls first"),
        ("name", "join platform.student s on s.id = g.student_id", "lower(s.name)"),
    )
}

CELLS = text("""
    select p.enrollment_id, p.module_id, p.status, p.score, p.started_at, p.done_at, p.active_at,
        p.status = 'in progress' and exists (
            select from platform.submission s where s.enrollment_id = p.enrollment_id and s.module_id = p.module_id
                and s.status = 'waiting for review' and s.submitted_at <= :as_of
        ) as waiting
    from platform.module_progress p where p.enrollment_id = any (:ids)""")

# How many times its limit each reason amounts to, at most three times; few clicks count as one.
_POINTS = " + ".join(
    f"case when r.r_{kind} is null then 0 else least(r.r_{kind}::numeric / r.{kind}, 3) end"
    for kind in ("quiet", "behind", "failed", "waiting")
)
_POINTS += " + case when r.r_clicks is null then 0 else 1 end"
# Reasons stand side by side: a column for the amount, null where the limit is not reached or switched off.
HELP = text(f"""{_COHORTS}, heap as ({
    _MEMBERS.format(
        more='''0 as done, (
            select max(s.submitted_at) from platform.submission s where s.enrollment_id = e.id and s.submitted_at <= c.as_of
        ) as active, null::int as recent, null::timestamptz as waiting_since, null::int as failed_times, null::timestamptz as failed_since'''
    )
}
        union all {_PROGRESS.format(more=f"({_DONE})::int, {_ACTIVE}, null, null, null, null")}
        union all
        select u.enrollment_id, u.cohort_id, null, null, 0, max(u.at),
            coalesce(sum(u.clicks) filter (where u.at > c.as_of - interval '{
    CLICK_DAYS
} days'), 0)::int, null, null, null
        from cohorts c join platform.usage_event u on u.cohort_id = c.id
            and u.at > c.as_of - interval '{CLICK_WINDOW} days' and u.at <= c.as_of
        where u.at > cast(:clicks_from as timestamptz) and u.at <= cast(:clicks_to as timestamptz)
        group by 1, 2
        union all
        select s.enrollment_id, s.cohort_id, null, null, 0, null, null, s.submitted_at, null, null
        from cohorts c join platform.submission s on s.cohort_id = c.id
        where s.status = 'waiting for review' and s.submitted_at <= c.as_of
        union all
        select f.enrollment_id, f.cohort_id, null, null, 0, null, null, null, f.times, f.since
        from (
            select s.enrollment_id, s.cohort_id, s.module_id, c.as_of, count(*)::int as times, max(s.submitted_at) as since
            from cohorts c join platform.submission s on s.cohort_id = c.id
            where s.status = 'failed' and s.submitted_at <= c.as_of and c.failed > 0
            group by 1, 2, 3, 4, c.failed having count(*) >= c.failed
        ) f
        where not exists (
            select from platform.module_progress p where p.enrollment_id = f.enrollment_id and p.module_id = f.module_id
                and p.status = 'done' and coalesce(p.done_at, p.active_at, p.started_at, f.as_of) <= f.as_of
        ) and not exists (
            select from platform.submission s where s.enrollment_id = f.enrollment_id and s.module_id = f.module_id
                and s.status = 'passed' and s.submitted_at <= f.as_of
        )
    ), standing as (
        select h.enrollment_id as id, h.cohort_id, {
    _STUDENT
}, max(h.enrolled_at) as enrolled_at, sum(h.done)::int as done,
            max(h.active) as active, max(h.recent) as recent, min(h.waiting_since) as waiting_since,
            max(h.failed_times) as failed_times, max(h.failed_since) as failed_since
        from heap h group by 1, 2 having count(h.student_id) > 0
    ), median as (
        select s.cohort_id, percentile_disc(0.5) within group (order by s.done) as done,
            percentile_disc(0.5) within group (order by coalesce(s.recent, 0)) as clicks
        from standing s group by 1
    ), measured as (
        select s.*, c.as_of, c.modules, c.due, c.quiet, c.behind, c.failed, c.waiting, c.clicks, m.clicks as median_clicks, m.done as median_done,
            (c.as_of at time zone 'UTC')::date
                - (coalesce(s.active, greatest(c.starts_on::timestamp at time zone 'UTC', s.enrolled_at)) at time zone 'UTC')::date as quiet_days,
            (c.as_of at time zone 'UTC')::date - (s.waiting_since at time zone 'UTC')::date as waiting_days
        from standing s join cohorts c on c.id = s.cohort_id join median m on m.cohort_id = s.cohort_id
    ), reasons as (
        select m.*,
            case when m.quiet > 0 and m.quiet_days >= m.quiet and (m.modules = 0 or m.done < m.modules) then m.quiet_days end as r_quiet,
            case when m.behind > 0 and m.median_done - m.done >= m.behind then m.median_done - m.done end as r_behind,
            case when m.failed_times >= m.failed then m.failed_times end as r_failed,
            case when m.waiting > 0 and m.waiting_days >= m.waiting then m.waiting_days end as r_waiting,
            case when m.clicks > 0 and m.median_clicks > 0 and (m.modules = 0 or m.done < m.modules)
                and coalesce(m.recent, 0) * 100 < m.median_clicks * m.clicks then coalesce(m.recent, 0) end as r_clicks
        from measured m
    ), flagged as (
        select r.*, n.handled_until, n.note, n.written_by, n.written_at, coalesce(n.handled_until >= :today, false) as is_handled,
            round({_POINTS}, 1) as points
        from reasons r
        left join lateral (
            select h.handled_until, h.note, h.written_by, h.written_at from platform.help_note h
            where h.enrollment_id = r.id order by h.written_at desc, h.id desc limit 1
        ) n on true
        where num_nonnulls(r.r_quiet, r.r_behind, r.r_failed, r.r_waiting, r.r_clicks) > 0 and not r.id = {
    _OBJECTING
} and not exists (
            select from platform.result p where p.enrollment_id = r.id and p.kind in ('pass', 'distinction') and p.decided_at <= r.as_of
        )
    ), named as (
        select f.*, s.name from flagged f join platform.student s on s.id = f.student_id
    ), counted as (
        select (count(*) filter (where not n.is_handled))::int as total,
            (count(n.r_quiet) filter (where not n.is_handled))::int as n_quiet,
            (count(n.r_behind) filter (where not n.is_handled))::int as n_behind,
            (count(n.r_failed) filter (where not n.is_handled))::int as n_failed,
            (count(n.r_waiting) filter (where not n.is_handled))::int as n_waiting,
            (count(n.r_clicks) filter (where not n.is_handled))::int as n_clicks,
            (count(*) filter (where n.is_handled))::int as handled
        from named n
    ), whole as (
        select count(*)::int as students, (count(*) filter (where m.done >= m.due))::int as on_plan,
            (count(*) filter (where m.id = {_OBJECTING}))::int as objecting from measured m
    ), shown as (
        select * from named n
        where (cast(:only as uuid) is null or n.id = cast(:only as uuid)) and (cast(:kind as text) is null or case cast(:kind as text) when 'quiet' then n.r_quiet when 'behind' then n.r_behind
            when 'failed' then n.r_failed when 'waiting' then n.r_waiting when 'clicks' then n.r_clicks end is not null)
        order by n.is_handled, n.points desc, n.quiet_days desc, n.id limit :limit
    )
    select s.id as enrollment_id, s.student_id, s.name, s.cohort_id, s.done, s.modules, s.active as last_active, s.waiting_since,
        s.failed_since, s.median_clicks, s.r_quiet, s.r_behind, s.r_failed, s.r_waiting, s.r_clicks, s.points, s.is_handled,
        s.handled_until, s.note, s.written_by, s.written_at, c.*, w.*
    from counted c cross join whole w left join shown s on true
    order by s.is_handled, s.points desc, s.quiet_days desc, s.id""")

CERTIFICATES = text("""
    select e.student_id, r.enrollment_id, s.name, r.cohort_id, c.title, r.kind, r.decided_at, s.source, s.source_key
    from platform.result r join platform.enrollment e on e.id = r.enrollment_id
    join platform.student s on s.id = e.student_id join platform.cohort c on c.id = r.cohort_id
    left join platform.certificate t on t.enrollment_id = r.enrollment_id and t.issued_at <= :now
    where r.cohort_id = any (:ids) and r.kind in ('pass', 'distinction') and r.decided_at <= :now and t.id is null
    order by r.decided_at, r.enrollment_id""")

YEAR_BEFORE = text("select * from platform.year_before(:id, :now)")
