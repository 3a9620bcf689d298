"""Unmanaged models: the columns that our page of enrollments shows. Imported by bench.django_site only, after Django was configured."""

from typing import Any

from django.db import models


def _table(name: str) -> type:
    return type("Meta", (), {"managed": False, "db_table": f'platform"."{name}'})


class Titled(models.Model):  # type: ignore[misc]
    """What is shown by its title."""

    id = models.UUIDField(primary_key=True)
    title = models.TextField()

    class Meta:
        """No table of its own."""

        abstract = True

    def __str__(self) -> str:
        return str(self.title)


class Program(Titled):
    """A program."""

    Meta: Any = _table("program")


class Cohort(Titled):
    """A cohort."""

    starts_on = models.DateField()
    Meta: Any = _table("cohort")


class Student(models.Model):  # type: ignore[misc]
    """A student."""

    id = models.UUIDField(primary_key=True)
    name = models.TextField()
    email = models.TextField()
    experience_level = models.TextField()
    Meta: Any = _table("student")


class Enrollment(models.Model):  # type: ignore[misc]
    """An enrollment."""

    id = models.UUIDField(primary_key=True)
    student = models.ForeignKey(Student, models.DO_NOTHING)
    program = models.ForeignKey(Program, models.DO_NOTHING)
    cohort = models.ForeignKey(Cohort, models.DO_NOTHING)
    status = models.TextField()
    enrolled_at = models.DateTimeField()
    Meta: Any = _table("enrollment")
