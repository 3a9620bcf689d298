"""Who is left out of every figure. The one place to extend when more is known about a person's wishes."""

# An SQL condition on ``platform.student s``. Left out: accounts that were closed (their grace runs), people who object or are
# restricted (or asked for it, and nobody has decided yet), and minors without verified consent.
COUNTED = """
    s.account_status = 'open'
    and s.id not in (select privacy.objecting_students())
    and s.id not in (select privacy.restricted_students())
    and not exists (select from privacy.request r where r.student_id = s.id and r.kind = 'restrict' and r.closed_at is null)
    and not exists (
        select from privacy.consent c where c.student_id = s.id and c.state in ('missing', 'requested', 'given', 'refused', 'withdrawn')
    )
"""
