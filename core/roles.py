"""The database roles. They belong to the cluster, not to one schema version, so they are not a migration.

Danger: with a superuser behind the dashboard, row-level security hides nothing. Principle: four roles that sign in,
each with what its work needs, and two that own what nobody may change. Mechanism: :func:`create_roles` is idempotent
and run by ``python -m core init`` (a server) or on every start of the embedded cluster.

======================  ======  ===============================================================================
resocode_owner          login   owns schemas and tables, runs migrations; under FORCE row-level security sees no row
resocode_app            login   the dashboard: no DELETE on people, no TRUNCATE, owns nothing
resocode_worker         login   imports, erases, keeps retention
resocode_analyst        login   reads schema ``anon`` only
resocode_definer        –       owns the functions that see more rows than their caller, and checks scope inside
resocode_ledger         –       owns the audit, so that not even the owner's own session may rewrite it unnoticed
======================  ======  ===============================================================================
"""

import os
import time
from collections.abc import Mapping

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from core.errors import SettingsError

LOGIN_ROLES = ("resocode_owner", "resocode_app", "resocode_worker", "resocode_analyst")
NOLOGIN_ROLES = ("resocode_definer", "resocode_ledger")
NEVER_COMPILED = ("resocode_app", "resocode_worker")
SCHEMAS = ("platform", "privacy", "staff", "anon")
ATTEMPTS = 5


def create_roles(admin: psycopg.Connection, *, passwords: Mapping[str, str]) -> None:
    """Create or mend all roles, and let the owner work in this database.

    ``admin`` is a connection of a superuser (or of a CREATEROLE user who owns the database) to the target database;
    ``passwords`` is by role, one for each of LOGIN_ROLES.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _create_all(admin, passwords)
        except (
            psycopg.errors.InternalError_
        ):  # "tuple concurrently updated": roles belong to the cluster, our lock to one database
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(0.1 * (attempt + 1))


def _create_all(admin: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    with admin.transaction():
        admin.execute("select pg_advisory_xact_lock(hashtext('resocode roles'))")
        for role in LOGIN_ROLES + NOLOGIN_ROLES:
            _create_role(admin, role, passwords.get(role))
        _let_owner_own(admin)


def create_on_server(admin_url: str | None) -> None:
    """Create or mend the roles of a server; each gets the password that stands in its own address.

    The analyst, who reads releases only, needs none: it signs in once ANALYST_DATABASE_URL is set. Raises SettingsError
    when an address is missing or names another role.
    """
    if not admin_url:
        raise SettingsError("Set ADMIN_DATABASE_URL: the address of this database as a role that may create roles.")
    passwords = {role: _password_of(role, variable) for role, variable in VARIABLES.items() if os.environ.get(variable)}
    missing = [variable for role, variable in VARIABLES.items() if role not in passwords and role != "resocode_analyst"]
    if missing:
        raise SettingsError(f"Set {', '.join(missing)} too; each role gets the password of its own address.")
    with psycopg.connect(admin_url.replace("postgresql+psycopg://", "postgresql://", 1)) as admin:
        create_roles(admin, passwords=passwords)


VARIABLES = {
    "resocode_owner": "OWNER_DATABASE_URL",
    "resocode_app": "DATABASE_URL",
    "resocode_worker": "WORKER_DATABASE_URL",
    "resocode_analyst": "ANALYST_DATABASE_URL",
}


def _password_of(role: str, variable: str) -> str:
    address = make_url(os.environ[variable])
    if address.username != role or not address.password:
        raise SettingsError(f"{variable} must name the role {role} and its password.", variable=variable)
    return str(address.password)


def _create_role(admin: psycopg.Connection, role: str, password: str | None) -> None:
    """Create or mend one role. Without a password a new role cannot sign in, and one that can keeps its password."""
    exists = admin.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone()
    statement = sql.SQL("{verb} role {role} with noinherit nocreatedb nocreaterole").format(
        verb=sql.SQL("alter" if exists else "create"), role=sql.Identifier(role)
    )
    if password:
        statement += sql.SQL(" login password {}").format(sql.Literal(password))
    admin.execute(statement)
    if (
        role in NEVER_COMPILED
    ):  # policies make statements look costly: PostgreSQL compiles for seconds what runs for milliseconds
        admin.execute(sql.SQL("alter role {} set jit = off").format(sql.Identifier(role)))


def _let_owner_own(admin: psycopg.Connection) -> None:
    database = sql.Identifier(admin.info.dbname)
    admin.execute(sql.SQL("revoke all on database {} from public").format(database))
    admin.execute(
        sql.SQL("grant connect on database {} to resocode_app, resocode_worker, resocode_analyst").format(database)
    )
    admin.execute(sql.SQL("grant connect, create, temporary on database {} to resocode_owner").format(database))
    admin.execute(sql.SQL("grant temporary on database {} to resocode_worker").format(database))
    admin.execute("revoke create on schema public from public")
    admin.execute("grant usage on schema public to public")
    admin.execute("grant resocode_definer, resocode_ledger to resocode_owner")
    admin.execute("create extension if not exists pg_trgm with schema public")
    admin.execute("grant resocode_owner to current_user")
    for schema in SCHEMAS:
        admin.execute(
            sql.SQL("create schema if not exists {} authorization resocode_owner").format(sql.Identifier(schema))
        )
