"""The same tables as another framework sees them: unmanaged models whose cascade deletes a student's rows one table at a time.

Imported by bench.erasures only, after Django was configured.
"""

from typing import Any

from django.db import models

SCHEMAS = {"consent": "privacy", "guardian": "privacy"}


def _model(name: str, **fields: Any) -> type[models.Model]:
    table = f'{SCHEMAS.get(name, "platform")}"."{name}'
    meta = type("Meta", (), {"managed": False, "db_table": table, "app_label": "bench"})
    return type(name.title().replace("_", ""), (models.Model,), {"Meta": meta, "__module__": __name__, **fields})


def _key() -> Any:
    return models.UUIDField(primary_key=True)


def _to(model: type[models.Model], column: str, *, key: bool = False) -> Any:
    return models.ForeignKey(
        model, models.CASCADE, db_column=column, primary_key=key, related_name="+", db_constraint=False
    )


Student = _model("student", id=_key())
OF_STUDENTS = [
    _model("student_profile", student=_to(Student, "student_id", key=True)),
    _model("consent", student=_to(Student, "student_id", key=True)),
    _model("guardian", id=_key(), student=_to(Student, "student_id")),
    _model("email_log", id=_key(), student=_to(Student, "student_id")),
    _model("subscription", id=_key(), student=_to(Student, "student_id")),
]
Enrollment = _model("enrollment", id=_key(), student=_to(Student, "student_id"))
Submission = _model("submission", id=_key(), enrollment=_to(Enrollment, "enrollment_id"))
OF_ENROLLMENTS = [
    _model("module_progress", id=_key(), enrollment=_to(Enrollment, "enrollment_id")),
    _model(
        "code_review",
        id=_key(),
        enrollment=_to(Enrollment, "enrollment_id"),
        submission=_to(Submission, "submission_id"),
    ),
    _model("result", enrollment=_to(Enrollment, "enrollment_id", key=True)),
    _model("certificate", id=_key(), enrollment=_to(Enrollment, "enrollment_id")),
    _model("usage_event", id=_key(), enrollment=_to(Enrollment, "enrollment_id")),
    _model("help_note", id=_key(), enrollment=_to(Enrollment, "enrollment_id")),
]
