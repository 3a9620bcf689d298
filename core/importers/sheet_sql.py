"""What is asked of the database about a staged spreadsheet, and what is done with it: one statement for all its rows.

``pg_temp.sheet`` holds one row of the file each, ``s`` below: ``line``, ``problem`` (null: none), the values, and, filled in
here, ids of what is known and the ``fate`` (added, changed, unchanged). Parameters: ``now``, ``today`` and ``adults_born``:
whoever was born then or before is of age.
"""


def _with(problem: str) -> str:
    """The problems of a row and one more (none, when it is null)."""
    return f"problem = nullif(concat_ws('; ', s.problem, {problem}), '')"


def _twice(key: str, what: str) -> str:
    """Rows of the same key name each other's lines, five at most."""
    others = "(select string_agg(x::text, ', ') from (select x from unnest(d.lines) x where x <> s.line limit 5) x)"
    return f"""
        with d as (select {key} as key, array_agg(line order by line) as lines from pg_temp.sheet s where {key} is not null
            group by 1 having count(*) > 1)
        update pg_temp.sheet s set {_with(f"'{what} is also on line ' || {others}")} from d where {key} = d.key"""


_WHO = f"""
    update pg_temp.sheet s set student_id = p.id, {_with("case when p.account_status = 'closed' then 'the account is closed' end")}
    from platform.student p where p.email_hash = s.email_hash"""

# An e-mail that was corrected here still finds its student; whoever has another name under it is asked about.
_EARLIER = f"""
    update pg_temp.sheet s set student_id = p.id, {
    _with('''case when p.account_status = 'closed' then 'the account is closed'
        when NAMED then 'this was the e-mail of a student with another name, which was corrected; take the newer sheet' end''')
}
    from privacy.correction c join platform.student p on p.id = c.record_id
    where s.student_id is null and c.field = 'platform.student.email' and c.state = 'in force' and c.reason <> 'never theirs'
      and c.old_hash = s.email_hash"""
_OTHER_NAME = """s.name is not null and lower(s.name) <> lower(p.name) and not exists (select from privacy.correction n
        where n.record_id = p.id and n.field = 'platform.student.name' and n.state = 'in force' and lower(n.old_value) = lower(s.name))"""
_SAME = _twice("case when s.problem is null then s.student_id::text end", "the same student")
# Values that were corrected here: a sheet that still has the old one does not bring it back.
_STALE = tuple(
    f"""
    update pg_temp.sheet s set {column} = null, kept = coalesce(s.kept, 0) + 1 from privacy.correction c join platform.student p on p.id = c.record_id
        left join platform.student_profile f on f.student_id = p.id
    where s.student_id = p.id and c.field = 'platform.{field}' and c.state = 'in force' and c.new_value is not distinct from {stands}
      and lower(c.old_value) = lower(s.{column})"""
    for column, field, stands in (("name", "student.name", "p.name"), ("level", "student.experience_level", "p.experience_level"),
                                  ("phone", "student_profile.phone", "f.phone"))
)  # fmt: skip
KEPT = "select coalesce(sum(kept), 0) from pg_temp.sheet"

# Erased people: only e-mails that nobody has now, because whoever has one has come in before.
_NEW = "s.problem is null and not exists (select from platform.student p where p.email_hash = s.email_hash)"
NEW_WITH_NAME = f"s.name is not null and {_NEW}"
MORE = "jsonb_build_object('experience_level', s.level)"
LEAVE_OUT = f"""delete from pg_temp.sheet s where {_NEW} and exists (
    select from privacy.suppression x where x.hash = s.email_hash and x.until > :now) returning 1"""

FATES = "select fate, count(*) as many from pg_temp.sheet group by 1"

_AGE_GIVEN = "(s.birth_date is not null or s.adult is not null)"
STUDENT_COLUMNS = {
    "id": "uuid", "email": "text", "email_hash": "bytea", "provider_hash": "bytea", "name": "text", "level": "text", "phone": "text",
    "registered_at": "timestamptz", "birth_date": "date", "adult": "boolean", "guardian": "text", "guardian_email": "text", "guardian_id": "uuid",
    "student_id": "uuid", "fate": "text", "kept": "int",
}  # fmt: skip
STUDENT_CHECKS = (
    _twice("s.email_hash", "the same e-mail"),
    _WHO,
    _EARLIER.replace("NAMED", _OTHER_NAME),
    _SAME,
    *_STALE,
    f"""update pg_temp.sheet s set {_with("'a new student needs a name'")}
        where student_id is null and name is null and email is not null""",
    f"""update pg_temp.sheet s set {_with("'another age is on record, and a spreadsheet does not change it'")}
        from privacy.consent c where c.student_id = s.student_id and (
            s.birth_date <> c.birth_date or s.adult <> coalesce(c.adult, c.birth_date <= :adults_born)
            or (s.birth_date <= :adults_born) <> c.adult)""",
    f"""update pg_temp.sheet s set {_with("'guardian: only a student below the consent age has one'")}
        from pg_temp.sheet t left join privacy.consent c on c.student_id = t.student_id
        where t.line = s.line and s.guardian is not null and (
            coalesce(s.adult, c.adult, s.birth_date <= :adults_born, c.birth_date <= :adults_born, true))""",
    f"""update pg_temp.sheet s set {_with("'guardian: another one is on record, and a spreadsheet does not change that'")}
        from privacy.consent c join privacy.guardian g on g.id = c.guardian_id
        where c.student_id = s.student_id and (s.guardian, s.guardian_email) is distinct from (g.name, g.email) and s.guardian is not null""",
    """update pg_temp.sheet s set fate = case when p.id is null then 'added'
            when s.name <> p.name or s.level <> p.experience_level or (s.phone is not null and s.phone is distinct from f.phone)
                or (s.birth_date is not null and c.birth_date is null and c.adult is not true)
                or (s.adult is not null and c.adult is null and (c.birth_date is null or s.adult))
                or (s.guardian is not null and c.guardian_id is null) then 'changed'
            else 'unchanged' end
        from pg_temp.sheet t left join platform.student p on p.id = t.student_id
            left join platform.student_profile f on f.student_id = t.student_id
            left join privacy.consent c on c.student_id = t.student_id
        where t.line = s.line""",
)
STUDENT_EFFECTS = (
    """insert into platform.student (id, name, email, experience_level, registered_at, email_hash, provider_hash, source)
        select id, name, email, coalesce(level, 'not stated'), coalesce(registered_at, :now), email_hash, provider_hash, 'csv'
        from pg_temp.sheet where fate = 'added' order by line""",
    """update platform.student p set name = coalesce(s.name, p.name), experience_level = coalesce(s.level, p.experience_level)
        from pg_temp.sheet s where s.fate = 'changed' and p.id = s.student_id and (s.name <> p.name or s.level <> p.experience_level)""",
    """insert into platform.student_profile as f (student_id, phone)
        select coalesce(student_id, id), phone from pg_temp.sheet where fate <> 'unchanged' and phone is not null
        on conflict (student_id) do update set phone = excluded.phone where f.phone is distinct from excluded.phone""",
    f"""insert into privacy.consent as c (student_id, birth_date, adult, declared_at, state, source)
        select coalesce(student_id, id), case when birth_date > :adults_born then birth_date end,
            case when birth_date <= :adults_born then true when birth_date is null then adult end,
            case when {_AGE_GIVEN} then cast(:now as timestamptz) end,
            case when birth_date > :adults_born or not adult then 'missing' else 'not needed' end, 'csv'
        from pg_temp.sheet s where fate = 'added' or (fate = 'changed' and {_AGE_GIVEN})
        on conflict (student_id) do update set
            birth_date = case when not coalesce(c.adult, excluded.adult, false) then coalesce(c.birth_date, excluded.birth_date) end,
            adult = coalesce(c.adult, excluded.adult), declared_at = coalesce(c.declared_at, excluded.declared_at),
            guardian_id = case when not coalesce(c.adult, excluded.adult, false) then c.guardian_id end,
            state = case when coalesce(c.adult, excluded.adult) then 'not needed' when c.state = 'not needed' then excluded.state
                else c.state end""",
    """insert into privacy.guardian (id, student_id, name, email, added_at)
        select guardian_id, coalesce(student_id, id), guardian, guardian_email, :now from pg_temp.sheet s
        where fate <> 'unchanged' and guardian is not null and not exists (
            select from privacy.consent c where c.student_id = s.student_id and c.guardian_id is not null)""",
    """update privacy.consent c set guardian_id = g.id from pg_temp.sheet s join privacy.guardian g on g.id = s.guardian_id
        where c.student_id = g.student_id""",
)

# An enrollment as it would be: what the sheet says, else what is there, else now.
_JOINED = """(
    select t.line, c.program_id, c.starts_on, c.ends_on, r.kind as result, e.id as known_id, e.enrolled_at as known_enrolled,
        coalesce(t.enrolled_at, e.enrolled_at, cast(:now as timestamptz)) as enrolled_at,
        coalesce(t.confirmed_at, e.confirmed_at) as confirmed_at, coalesce(t.withdrawn_at, e.withdrawn_at) as withdrawn_at,
        case when coalesce(t.withdrawn_at, e.withdrawn_at) is not null then 'withdrawn' when c.starts_on > :today then 'registered'
            when c.ends_on < :today then 'ended' else 'active' end as status,
        e.id is not null and (t.enrolled_at <> e.enrolled_at or t.confirmed_at is distinct from e.confirmed_at
            and t.confirmed_at is not null or t.withdrawn_at is distinct from e.withdrawn_at and t.withdrawn_at is not null) as differs
    from pg_temp.sheet t join platform.cohort c on c.id = t.cohort_id
        left join platform.enrollment e on e.student_id = t.student_id and e.cohort_id = t.cohort_id
        left join platform.result r on r.enrollment_id = e.id
) j where j.line = s.line"""
_STARTED = "case when j.starts_on::timestamp at time zone 'UTC' <= coalesce(j.withdrawn_at, :now) then greatest(j.starts_on::timestamp at time zone 'UTC', j.enrolled_at) end"
ENROLLMENT_COLUMNS = {
    "id": "uuid", "email": "text", "email_hash": "bytea", "cohort": "text", "status": "text", "enrolled_at": "timestamptz",
    "confirmed_at": "timestamptz", "withdrawn_at": "timestamptz", "student_id": "uuid", "cohort_id": "uuid", "fate": "text",
}  # fmt: skip
ENROLLMENT_CHECKS = (
    _twice("s.email_hash || convert_to(lower(s.cohort), 'UTF8')", "the same student and cohort"),
    _WHO,
    _EARLIER.replace("NAMED", "false"),
    _twice("case when s.problem is null then s.student_id::text || lower(s.cohort) end", "the same student and cohort"),
    f"""update pg_temp.sheet s set {_with("'no student has this e-mail; import the students first'")}
        where student_id is null and email is not null""",
    f"""update pg_temp.sheet s set cohort_id = c.id, {_with("case when c.id is null then 'there is no cohort with this code' end")}
        from pg_temp.sheet t left join lateral (select c.id from platform.cohort c where lower(c.code) = lower(t.cohort)
            order by c.code = t.cohort desc limit 1) c on true
        where t.line = s.line and s.cohort is not null""",
    f"""update pg_temp.sheet s set {
        _with('''case
            when j.known_id is null and s.enrolled_at is null and j.ends_on < :today then
                'the cohort ended on ' || j.ends_on || '; say when the student enrolled'
            when (j.enrolled_at at time zone 'UTC')::date > j.ends_on then 'enrolled after the cohort ended on ' || j.ends_on
            when j.withdrawn_at < j.enrolled_at then 'withdrawn before enrolled'
            when (j.withdrawn_at at time zone 'UTC')::date > j.ends_on then 'withdrawn after the cohort ended on ' || j.ends_on
            when s.withdrawn_at is not null and j.result <> 'withdrawn' then 'there is another result already'
            when s.status = 'withdrawn' and j.status <> 'withdrawn' then 'withdrawn needs its day, in a column “withdrawn on”'
            when s.status <> j.status then 'by its dates the enrollment is ' || j.status || ', not ' || s.status end''')
    }
        from {_JOINED} and s.student_id is not null""",
    f"""update pg_temp.sheet s set fate = case when j.known_id is null then 'added' when j.differs then 'changed' else 'unchanged' end
        from {_JOINED}""",
)
ENROLLMENT_EFFECTS = (
    f"""insert into platform.enrollment
            (id, student_id, cohort_id, program_id, status, enrolled_at, started_at, withdrawn_at, confirmed_at, source)
        select s.id, s.student_id, s.cohort_id, j.program_id, j.status, j.enrolled_at, {_STARTED}, j.withdrawn_at, j.confirmed_at, 'csv'
        from pg_temp.sheet s, {_JOINED} and s.fate = 'added' order by s.line""",
    f"""update platform.enrollment e set enrolled_at = j.enrolled_at, confirmed_at = j.confirmed_at, withdrawn_at = j.withdrawn_at,
            status = j.status, started_at = {_STARTED}
        from pg_temp.sheet s, {_JOINED} and s.fate = 'changed' and e.id = j.known_id""",
    """insert into platform.result as r (enrollment_id, cohort_id, kind, decided_at, source)
        select e.id, e.cohort_id, 'withdrawn', e.withdrawn_at, 'csv'
        from pg_temp.sheet s join platform.enrollment e on e.student_id = s.student_id and e.cohort_id = s.cohort_id
        where s.fate <> 'unchanged' and s.withdrawn_at is not null
        on conflict (enrollment_id) do update set decided_at = excluded.decided_at""",
)
