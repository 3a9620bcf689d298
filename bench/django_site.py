"""Django's admin over the same tables, as somebody would set it up who wants our page of enrollments: a peer for bench.clicks.

Unmanaged models of four tables, the columns, filters, search and order of our page, Django's defaults for the rest (the full count of
results, sessions in a database). Its own tables (accounts, sessions, log) lie in a SQLite file beside. Served by gunicorn as
``bench.django_site:application``; BENCH_DSN is the address of the records, BENCH_OWN the file, BENCH_PASSWORD of the account "bench".
"""

import os
from typing import Any

import django
from django.conf import settings
from sqlalchemy.engine import make_url

RECORDS = make_url(os.environ["BENCH_DSN"])
APPS = ("admin", "auth", "contenttypes", "sessions", "messages")


class Router:
    """Django's own tables lie in the file, the records in the database."""

    def db_for_read(self, model: Any, **_hints: object) -> str:
        """Where a model is read."""
        return "own" if model._meta.app_label in APPS else "default"

    db_for_write = db_for_read

    def allow_relation(self, *_both: object, **_hints: object) -> bool:
        """Anything may stand beside anything."""
        return True


settings.configure(
    SECRET_KEY="bench",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="bench.django_site",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[*(f"django.contrib.{app}" for app in APPS), "bench.django_records"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
                                           "django.contrib.messages.context_processors.messages"]},
    }],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.postgresql", "NAME": RECORDS.database, "USER": RECORDS.username, "PASSWORD": RECORDS.password,
                    "HOST": RECORDS.query.get("host", RECORDS.host), "PORT": RECORDS.query.get("port", RECORDS.port), "CONN_MAX_AGE": None},
        "own": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["BENCH_OWN"]},
    },
    DATABASE_ROUTERS=["bench.django_site.Router"],
    STATIC_URL="static/",
)  # fmt: skip
django.setup()

from django.contrib import admin  # noqa: E402 - Django wants its settings first
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402

from bench.django_records.models import Enrollment  # noqa: E402


@admin.register(Enrollment)
class EnrollmentAdmin(admin.ModelAdmin):  # type: ignore[misc]
    """Our list of enrollments: columns, filters, search, order, 50 rows."""

    list_display = ("name", "contact", "program", "cohort", "status", "level", "enrolled_at", "starts")
    list_filter = ("status", "program", "student__experience_level", "enrolled_at")
    list_select_related = ("student", "program", "cohort")
    search_fields = ("student__name", "student__email")
    ordering = ("-enrolled_at", "-id")
    list_per_page = 50

    def name(self, row: Any) -> str:
        """The student's name."""
        return str(row.student.name)

    def contact(self, row: Any) -> str:
        """The student's address."""
        return str(row.student.email)

    def level(self, row: Any) -> str:
        """The student's experience."""
        return str(row.student.experience_level)

    def starts(self, row: Any) -> object:
        """When the cohort begins."""
        return row.cohort.starts_on


urlpatterns = [path("admin/", admin.site.urls)]
application = get_wsgi_application()


def prepare() -> None:
    """Make Django's own tables and the account, once."""
    from django.contrib.auth.models import User

    call_command("migrate", database="own", verbosity=0)
    User.objects.using("own").filter(username="bench").delete()
    User.objects.db_manager("own").create_superuser("bench", "bench@example.org", os.environ["BENCH_PASSWORD"])
