"""Who is left out of every figure. The one place to extend when more is known about a person's wishes."""

# An SQL condition on ``platform.student s``. Left out: accounts that were closed (their grace runs), people who objected or are
# restricted (or asked for it and were not refused), and minors without verified consent.
COUNTED = """
    s.account_status = 'open'
    and not exists (
        select from privacy.request r
        where r.student_id = s.id and r.kind in ('object', 'restrict') and r.state not in ('refused', 'withdrawn')
    )
    and not exists (
        select from privacy.consent c where c.student_id = s.id and c.state in ('missing', 'given', 'withdrawn')
    )
"""
