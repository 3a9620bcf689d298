"""The front door for reads. No bodies here: each function lives in ``core/reads/`` and is told here.

Enrollments   enrollment_page, enrollment_total, catalog, funnel, monthly_trend, completed_figure
Students      student_card
Overview      program_day, taught_cohorts, promise_counts, house
Operations    status, worker_state
Audit         audit_page, audit_total, audit_state, colleagues

A read takes a ``Session`` that says who asks (core.db.transaction), never commits, and returns frozen rows. To add one:
a function in ``core/reads/<topic>.py``, its line here, and a row in the matrix of ``tests/core/test_matrix.py``.
"""

from core.models.audit_filter import AuditFilter
from core.reads.audit import (
    AuditLine,
    AuditPage,
    AuditState,
    AuditTotal,
    Colleague,
    audit_page,
    audit_state,
    audit_total,
    colleagues,
)
from core.reads.enrollments import (
    PAGE_SIZE,
    SHORTEST_SEARCH,
    SORTS,
    Catalog,
    CohortChoice,
    CompletedFigure,
    Cursor,
    EnrollmentFilter,
    EnrollmentPage,
    EnrollmentRow,
    Funnel,
    Total,
    Trend,
    catalog,
    completed_figure,
    enrollment_page,
    enrollment_total,
    funnel,
    monthly_trend,
)
from core.reads.operations import Counts, DeadJob, KindOfJob, Status, WorkerState, status, worker_state
from core.reads.overview import (
    CohortStart,
    House,
    ProgramDay,
    PromiseCounts,
    TaughtCohort,
    Week,
    house,
    program_day,
    promise_counts,
    taught_cohorts,
)
from core.reads.students import StudentCard, StudentEnrollment, student_card

__all__ = [
    "PAGE_SIZE",
    "SHORTEST_SEARCH",
    "SORTS",
    "AuditFilter",
    "AuditLine",
    "AuditPage",
    "AuditState",
    "AuditTotal",
    "Catalog",
    "CohortChoice",
    "CohortStart",
    "Colleague",
    "CompletedFigure",
    "Counts",
    "Cursor",
    "DeadJob",
    "EnrollmentFilter",
    "EnrollmentPage",
    "EnrollmentRow",
    "Funnel",
    "House",
    "KindOfJob",
    "ProgramDay",
    "PromiseCounts",
    "Status",
    "StudentCard",
    "StudentEnrollment",
    "TaughtCohort",
    "Total",
    "Trend",
    "Week",
    "WorkerState",
    "audit_page",
    "audit_state",
    "audit_total",
    "catalog",
    "colleagues",
    "completed_figure",
    "enrollment_page",
    "enrollment_total",
    "funnel",
    "house",
    "monthly_trend",
    "program_day",
    "promise_counts",
    "status",
    "student_card",
    "taught_cohorts",
    "worker_state",
]
