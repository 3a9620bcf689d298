"""For every promise two worlds: one in which it holds, and a change of it that has to turn it red.

Each is a piece of SQL, run as the superuser on the database of the cast, or a change of the surroundings (a setting, a server).
"""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cast import NOW, id_of

Patch = pytest.MonkeyPatch
ASHA, BEN, CLEO = (id_of(name) for name in ("asha", "ben", "cleo"))
DAY = "interval '1 day'"
AT = f"timestamptz '{NOW.isoformat()}'"


@dataclass(frozen=True)
class World:
    """``holds`` and ``breaks``: SQL (":now" is the instant of the cast), or what to do with the surroundings."""

    breaks: str | Callable[[Patch], None]
    holds: str | Callable[[Patch], None] = ""


def unlisted(table: str) -> World:
    """A column that somebody added by hand."""
    return World(f"alter table {table} add column shoe_size int")


def right(kind: str) -> World:
    """A request of this kind that was answered; then one that is overdue."""
    made = (
        "insert into privacy.request (id, kind, {who}, state, received_at, due_at, answered_at, closed_at, source) select gen_random_uuid(),"
        f" '{kind}', '{{person}}', '{{state}}', {AT} - {{days}} * {DAY}, {AT} - {{days}} * {DAY} + interval '1 month', {{answered}}, {{answered}}, 'test'"
    )
    none = "delete from privacy.request_clock; delete from privacy.request; "
    held = none + made.format(who="student_id", person=CLEO, state="answered", days=50, answered=f"{AT} - 40 * {DAY}")
    late = "" + made.format(who="student_id", person=BEN, state="received", days=40, answered="null")
    return World(late, held)


def register(name: str) -> World:
    """A processor with a contract; then one whose contract nobody looked at in time."""
    row = (
        "insert into privacy.processor_record (id, name, version, purpose, legal_basis, contract_on, review_by, transfer_basis, written_at, written_by)"
        f" values (gen_random_uuid(), '{name}', {{version}}, 'its job', 'contract', date '2026-02-03', date '{{until}}', 'no transfer', {AT}, '{id_of('omar')}')"
    )
    return World(row.format(version=2, until="2026-11-20"), row.format(version=1, until="2027-11-20"))


class Tracking(http.server.BaseHTTPRequestHandler):
    """A server that answers as ours does, and with one cookie more when it is told to."""

    cookie = "resocode"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Set-Cookie", f"{self.cookie}=x; Path=/")
        self.send_header("Content-Security-Policy", "default-src 'self'; img-src 'self' data:")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def web_server(patch: Patch) -> Iterator[None]:
    """Let something answer where the dashboard would."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tracking)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    patch.setenv("RESOCODE_PORT", str(server.server_address[1]))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def old_numpy(patch: Patch) -> None:
    from core.policy.checks import secured

    patch.setattr(secured, "_installed", lambda name: "0.0.1" if name == "numpy" else "")


def open_keys(patch: Patch) -> None:
    from core.settings import settings

    key = settings().home / "keys" / "weak.1.key"
    key.write_text("x")
    key.chmod(0o644)


REVIEWED = (
    f"insert into staff.access_review (id, started_at, due_on, completed_at) values (gen_random_uuid(), {AT} - 11 * {DAY}, date '2026-11-20',"
    f" {AT} - 10 * {DAY})"
)
OLD_REVIEW = f"update staff.access_review set completed_at = {AT} - 91 * {DAY}"
ERASED = (
    ""
    f" insert into privacy.erasure (id, request_id, kind, next_at, made_at, begun_at, finished_at) select '{id_of('an erasure')}', id, 'student',"
    f" {AT}, {AT}, {AT} - 20 * {DAY}, {AT} - 20 * {DAY} from privacy.request where kind = 'delete';"
    " insert into privacy.erasure_certificate (id, number, erasure_id, issued_at, document, sha256, public_key, signature)"
    f" values (gen_random_uuid(), 1, '{id_of('an erasure')}', {AT}, '{{}}', '', '', '')"
)
DELETED = (
    "insert into privacy.request (id, kind, state, received_at, due_at, answered_at, closed_at,"
    f" account_closed_at, grace_ends_at, source) values (gen_random_uuid(), 'delete', 'erased', {AT} - 60 * {DAY}, {AT} - 30 * {DAY},"
    f" {AT} - 60 * {DAY}, {AT} - 20 * {DAY}, {AT} - 60 * {DAY}, {AT} - 30 * {DAY}, 'test');"
)
MINOR = f"update privacy.consent set adult = null, birth_date = date '2009-06-01', state = 'verified' where student_id = '{BEN}'"

WORLDS: dict[str, World] = {
    "COL-ACCOUNT": unlisted("platform.subscription"),
    "COL-PROFILE": unlisted("platform.student_profile"),
    "COL-LEARNING": unlisted("platform.result"),
    "COL-USAGE": unlisted("platform.usage_event"),
    "COL-CONTACT": unlisted("platform.visitor"),
    "COL-INTEREST": unlisted("platform.visitor"),
    "COL-DEVICE": unlisted("platform.visitor_device"),
    "USE-MANAGE": World(
        f"delete from platform.certificate; update platform.result set decided_at = {AT} - 31 * {DAY}",
    ),
    "USE-MAIL": World(f"update platform.email_log set kind = 'newsletter' where student_id = '{BEN}'"),
    "USE-IMPROVE": World("update anon.cell set value = value + 1 where ctid = (select min(ctid) from anon.cell)"),
    "USE-ABUSE": World(
        "grant select (address) on platform.visitor_device to resocode_app",
        f"insert into staff.worker_heartbeat (worker, beat_at) values ('w', {AT})",
    ),
    "USE-NOSALE": World(
        "update privacy.policy_version set document = jsonb_set(document, '{processors,1,purpose}', '\"advertising\"')"
    ),
    "SEC-ENCRYPT": World(open_keys),
    "SEC-BCRYPT": World(f"update staff.staff_member set password_hash = md5('x') where id = '{id_of('paula')}'"),
    "SEC-TLS": World(lambda patch: patch.setenv("RESOCODE_HOST", "0.0.0.0")),
    "SEC-ACCESS": World("alter policy app_reads on platform.student using (true)", REVIEWED),
    "SEC-REVIEW": World(old_numpy, REVIEWED),
    "LRN-PRIVATE": World("alter policy app_reads on platform.code_review using (staff.my_role() is not null)"),
    "PRC-MONGODB": register("MongoDB Atlas"),
    "PRC-CLOUDINARY": register("Cloudinary"),
    "PRC-VERCEL": register("Vercel"),
    "PRC-SMTP": register("SMTP"),
    "PRC-PAYMENTS": register("payment gateway"),
    "PRC-MINIMUM": World(lambda patch: sending(patch, "Cloudinary", ("e-mail", "birth date"))),
    "COO-ESSENTIAL": World(lambda patch: patch.setattr(Tracking, "cookie", "_ga")),
    "RGT-ACCESS": right("access"),
    "RGT-UPDATE": right("correct"),
    "RGT-DELETE": right("delete"),
    "RGT-EXPORT": right("export"),
    "RGT-OPTOUT": right("object"),
    "RET-GRACE": World(
        f"update platform.student set account_status = 'closed', closed_at = {AT} - 32 * {DAY} where id = '{CLEO}'", DELETED + ERASED
    ),
    "RET-ACTIVE": World(f"update platform.subscription set starts_on = date '2026-01-01', ends_on = date '2026-10-01' where student_id = '{CLEO}'"),
    "RET-MAIL90": World(
        f"insert into platform.email_log (sent_at, id, student_id, kind, address, outcome, source) values ({AT} - 92 * {DAY}, gen_random_uuid(),"
        f" '{BEN}', 'confirmation', 'x@example.org', 'sent', 'test')",
        "delete from platform.email_log",
    ),
    "RET-ANON": World("alter table anon.cell disable trigger all"),
    "AGE-16": World(f"update privacy.consent set adult = null, birth_date = date '2011-01-01', state = 'missing' where student_id = '{CLEO}'"),
    "AGE-PARENT": World(MINOR.replace("verified", "missing"), MINOR),
    "CHG-NOTICE": World(
        "insert into privacy.policy_version select '2026-09-01', '2026-09-01', '2026-08-01', document from privacy.policy_version"
    ),
    "CHG-DATE": World("update privacy.policy_version set document = jsonb_set(document, '{parameters,grace_days}', '7')"),
    "CON-CHANNEL": World(
        "update privacy.policy_version set document = document - 'contact'",
        "update privacy.policy_version set document = document || '{\"contact\": \"privacy@example.org\"}'",
    ),
}  # fmt: skip


def sending(patch: Patch, name: str, payload: tuple[str, ...]) -> None:
    """A connected processor that is sent these fields."""
    from core.processors import registry
    from core.processors.manual import Manual
    from core.processors.protocol import Capability

    made = Manual(name, payload=payload, capabilities=frozenset({Capability.ERASE}))
    patch.setitem(registry._makers, name, lambda: made)
