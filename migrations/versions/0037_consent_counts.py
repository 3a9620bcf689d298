"""The count of minors without verified consent knows every state of a consent."""

from migrations import rights

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

FUNCTIONS = """
create or replace function privacy.promise_counts(p_now timestamptz, p_log_days int, p_grace_days int)
returns table (
    open_requests bigint, overdue_requests bigint, due_soon_requests bigint, minors_without_consent bigint,
    ages_not_declared bigint, old_mail_logs bigint, oldest_mail_log timestamptz, closed_in_grace bigint,
    closed_past_grace bigint
) language sql stable security definer set search_path = '' as $$
    select
        (select count(*) from privacy.request r where r.closed_at is null),
        (select count(*) from privacy.request r where r.closed_at is null and r.answered_at is null
            and r.paused_at is null and r.due_at < p_now),
        (select count(*) from privacy.request r where r.closed_at is null and r.answered_at is null
            and r.paused_at is null and r.due_at >= p_now and r.due_at < p_now + interval '7 days'),
        (select count(*) from privacy.consent c join platform.student s on s.id = c.student_id
            where c.state in ('missing', 'requested', 'given', 'refused', 'withdrawn') and s.account_status = 'open'),
        (select count(*) from platform.student s left join privacy.consent c on c.student_id = s.id
            where c.birth_date is null and c.adult is null and s.account_status = 'open'),
        (select count(*) from platform.email_log l where l.sent_at < p_now - p_log_days * interval '1 day'),
        (select min(l.sent_at) from platform.email_log l),
        (select count(*) from platform.student s where s.closed_at > p_now - p_grace_days * interval '24 hours'),
        (select count(*) from platform.student s where s.closed_at <= p_now - p_grace_days * interval '24 hours')
    where (select staff.my_role()) in ('privacy_officer', 'admin', 'auditor')
$$;
"""


def upgrade() -> None:
    """Apply."""
    rights.functions(FUNCTIONS, {"privacy.promise_counts(timestamptz, int, int)": "resocode_app"})


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
