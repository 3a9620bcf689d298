"""Clause 3: security."""

import re
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import AdminError
from core.keys import PURPOSES, keys
from core.policy.checks import cookies, probing
from core.policy.checks.asking import day, many, number, one, rows
from core.policy.evidence import Evidence, Link, State, judged, not_proven
from core.roles import LOGIN_ROLES, NOLOGIN_ROLES
from core.settings import LOCAL, ROOT, settings

LEAST_COST = 12
REVIEW_DAYS, SOON_DAYS = 90, 14
HASH = r"^[0-9]+\$\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$"

HASHES = """
select count(*), count(*) filter (where m.password_hash !~ :shape
    or coalesce((substring(m.password_hash from :shape))::int, 0) < :cost)
from staff.staff_member m where m.password_hash is not null"""
PASSWORDS = """
select n.nspname || '.' || c.relname || '.' || a.attname
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('platform', 'privacy') and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
  and a.attname ~* 'passw|pwd|secret_hash'"""
TLS = "select coalesce((select s.ssl from pg_stat_ssl s where s.pid = pg_backend_pid()), false), inet_server_addr() is null or host(inet_client_addr()) in ('127.0.0.1', '::1')"
PLAIN_SECRETS = "select count(*) from staff.staff_member m where encode(m.totp_secret, 'escape') ~ '^[A-Z2-7=]{16,}$'"
SYNTHETIC = ("seed", "generated", "cast", "oulad", "canary")
REAL = "select exists (select from platform.student s where s.source <> all (:synthetic))"
REVIEW = "select max(r.completed_at) as at from staff.access_review r"
UNFORCED = """
select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('platform', 'privacy', 'staff', 'anon') and c.relkind in ('r', 'p') and not c.relispartition
  and c.relname <> 'alembic_version' and not (c.relrowsecurity and c.relforcerowsecurity)"""
UNBOUND = "select rolname from pg_roles where rolname like 'resocode%' and (rolsuper or rolbypassrls or rolcreaterole)"
STRANGERS = """
select distinct g.grantee::regrole::text || ' on ' || c.oid::regclass::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) g
where n.nspname in ('platform', 'privacy', 'staff', 'anon') and c.relkind in ('r', 'p', 'v', 'm')
  and (g.grantee = 0 or (g.grantee::regrole::text <> all (:known) and g.grantee <> c.relowner))"""
DESTROYING = """
select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('platform', 'privacy', 'staff', 'anon') and c.relkind in ('r', 'p')
  and (has_table_privilege('resocode_app', c.oid, 'delete') or has_table_privilege('resocode_app', c.oid, 'truncate'))"""
LOOSE = """
select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('platform', 'privacy', 'staff') and p.prosecdef
  and (coalesce(p.proconfig::text, '') not like '%search_path=%' or has_function_privilege('public', p.oid, 'execute'))"""
UNASKED = """
select p.polname || ' on ' || c.oid::regclass::text from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname || '.' || c.relname = any(:people) and p.polpermissive
  and (p.polroles = '{0}' or 'resocode_app'::regrole = any(p.polroles))
  and (coalesce(pg_get_expr(p.polqual, p.polrelid), '') || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '')) !~ 'staff[.]my_'"""
OUTLIVED = (
    "select count(*) from staff.staff_member m where m.role = 'auditor' and m.disabled_at is null and m.ends_at is null"
)
AUDITS = (("tables that do not force row-level security", UNFORCED), ("roles that nothing binds", UNBOUND),
          ("strangers with rights", STRANGERS), ("tables the dashboard may delete from", DESTROYING),
          ("policies that do not ask who is there", UNASKED), ("functions that are open or unpinned", LOOSE))  # fmt: skip


def encrypted(session: Session, now: datetime) -> Evidence:
    """What we encrypt ourselves can be opened by our keys only; whether the disk is encrypted, a person has to say."""
    known = settings()
    readable = [file.name for file in sorted((known.home / "keys").glob("*.key")) if file.stat().st_mode & 0o077]
    if readable:
        return judged(True, False, f"Others on this machine can read {many(len(readable), 'key')}: {', '.join(readable)}.",
                      figures={"keys that others can read": len(readable)})  # fmt: skip
    missing = [purpose for purpose in PURPOSES if not _has_key(purpose)]
    plain = number(session, PLAIN_SECRETS)
    figures: dict[str, int | str] = {
        "keys": len(PURPOSES) - len(missing),
        "keys missing": len(missing),
        "secrets in the clear": plain,
    }
    if missing or plain:
        sentence = (
            f"A key is missing for {', '.join(missing)}."
            if missing
            else f"{many(plain, 'one-time code secret')} stored in the clear."
        )
        return judged(True, False, sentence, figures=figures, query=PLAIN_SECRETS)
    if known.embedded and session.scalar(text(REAL), {"synthetic": list(SYNTHETIC)}):
        return not_proven("The embedded database holds records of real people; this program cannot know whether its disk is encrypted.",
                          figures=figures)  # fmt: skip
    return judged(False, False, "Files, certificates' traces and one-time code secrets are encrypted under keys that only their owner reads.",
                  figures=figures, query=PLAIN_SECRETS)  # fmt: skip


def hashed(session: Session, now: datetime) -> Evidence:
    """Every password of staff is a bcrypt hash of cost 12 or more, and no table about people has a password."""
    total, weak = one(session, HASHES, shape=HASH, cost=LEAST_COST)
    columns = [row[0] for row in rows(session, PASSWORDS)]
    figures: dict[str, int | str] = {
        "passwords of staff": total,
        "not bcrypt of cost 12 or more": weak,
        "other password columns": len(columns),
    }
    if columns:
        return judged(
            True,
            False,
            f"A table about people keeps passwords: {', '.join(columns)}.",
            figures=figures,
            query=PASSWORDS,
        )
    sentence = f"{total - weak} of {total} passwords of staff are bcrypt hashes of cost {LEAST_COST} or more; students' are not kept here."
    return judged(weak, False, sentence, figures=figures, query=HASHES)


def in_transit(session: Session, now: datetime) -> Evidence:
    """The database connection is encrypted or never leaves the machine; the dashboard answers over HTTPS."""
    encrypted_line, local = one(session, TLS)
    known = settings()
    modes = {
        name: urlsplit(url).query for name, url in (("app", known.database_url), ("worker", known.worker_url)) if url
    }
    weak = sorted(name for name, query in modes.items() if re.search(r"sslmode=(disable|allow|prefer)", query))
    web = "HTTPS" if known.https else "on this machine only" if known.host in LOCAL else "plain HTTP"
    line = "encrypted" if encrypted_line else "inside this machine" if local else "in the clear"
    figures: dict[str, int | str] = {
        "database connection": line,
        "dashboard": web,
        "addresses that allow plain text": len(weak),
    }
    if line == "in the clear" or web == "plain HTTP":
        what = "The database connection" if line == "in the clear" else f"The dashboard on {known.host}"
        return judged(True, False, f"{what} is not encrypted.", figures=figures, query=TLS)
    headers = cookies.answer()
    if known.https and headers is not None and "strict-transport-security" not in headers.headers:
        figures["strict transport"] = "not asked for"
    risk = bool(weak) and not local
    sentence = f"Database connection {line}; dashboard {web}."
    if risk:
        sentence += f" The address of {' and '.join(weak)} would allow plain text: set sslmode=verify-full."
    return judged(False, risk, sentence, figures=figures, query=TLS)


def access(session: Session, now: datetime) -> Evidence:
    """Rights in the database and what members of each role see are what the matrix says; the access review is at most 90 days old."""
    found = {what: [row[0] for row in rows(session, query, **_known(query))] for what, query in AUDITS}
    asked, rows_of = probing.members(session, now), probing.chosen(session)
    seen = [
        f"{member.role.replace('_', ' ')}: {table}"
        for member in asked
        for table in probing.seen(member, probing.forbidden(member), rows_of)
    ]
    at = one(session, REVIEW).at
    endless = number(session, OUTLIVED)
    figures: dict[str, int | str] = {what: len(each) for what, each in found.items()}
    figures |= {"members asked": len(asked), "tables asked for whole": sum(not each.key for each in rows_of.values()),
                "tables of which rows were drawn": sum(bool(each.key) for each in rows_of.values()), "tables with rows too many": len(seen), "last access review": day(at) if at else "never",
                "auditors without an end": endless}  # fmt: skip
    wrong = [f"{what}: {', '.join(each[:3])}" for what, each in found.items() if each]
    wrong += [f"rows visible that must not be: {', '.join(sorted(set(seen))[:3])}"] if seen else []
    query = ";\n".join(each for _, each in AUDITS) + ";" + REVIEW
    if wrong:
        return judged(True, False, f"{'; '.join(wrong)}.".capitalize(), figures=figures, query=query)
    return _reviewed(at, now, figures, query, f"Rights are as the matrix says, asked as {len(asked)} members", endless)


def reviewed(session: Session, now: datetime) -> Evidence:
    """Every right was reviewed within 90 days; the packages that run are those that were locked."""
    at = one(session, REVIEW).at
    locked = _locked()
    other = sorted(name for name, pinned in locked.items() if (there := _installed(name)) and there not in pinned)
    figures: dict[str, int | str] = {"last access review": day(at) if at else "never", "packages locked": len(locked),
                                     "packages in another version": len(other)}  # fmt: skip
    if other:
        return judged(
            True,
            False,
            f"{many(len(other), 'package')} in another version than was audited: {', '.join(other[:4])}.",
            figures=figures,
        )
    return _reviewed(at, now, figures, REVIEW, f"{many(len(locked), 'package')} as locked", 0)


def _reviewed(
    at: datetime | None, now: datetime, figures: dict[str, int | str], query: str, told: str, endless: int
) -> Evidence:
    links = (Link("Access review", "access_review"),)
    if at is None:
        return Evidence(
            State.NOT_PROVEN,
            f"{told}; there has been no access review yet, one is due every {REVIEW_DAYS} days.",
            figures,
            query.strip(),
            links,
        )
    age = (now - at).days
    sentence = f"{told}; access review is {many(age, 'day')} old, limit {REVIEW_DAYS}."
    if endless:
        sentence += f" {many(endless, 'auditor account')} without an end."
    return judged(
        age > REVIEW_DAYS, endless or age > REVIEW_DAYS - SOON_DAYS, sentence, figures=figures, query=query, links=links
    )


def _known(query: str) -> dict[str, object]:
    known = {"known": [*LOGIN_ROLES, *NOLOGIN_ROLES], "people": sorted(probing.person_tables())}
    return {name: value for name, value in known.items() if f":{name}" in query}


def _has_key(purpose: str) -> bool:
    try:
        return bool(keys(purpose))
    except AdminError:
        return False


def _locked() -> dict[str, set[str]]:
    """Package → versions of requirements.lock: more than one where they differ by Python or system."""
    found: dict[str, set[str]] = {}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for name, pinned in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", lock, re.M):
        found.setdefault(name, set()).add(pinned)
    return found


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""  # of another system or Python
