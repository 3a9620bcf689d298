"""The residue scan: is anything left of erased people where no key leads to them?

Danger: a name in somebody else's note, an address in a log, an id in a message: no foreign key finds them, and "erased" is not
true. Principle: what identified a person is looked for in every text and json column of every table, whatever the labels say,
once everything that leads to them is gone; an address, a telephone number or an id is sure, a bare name is a finding for a person
to judge. Mechanism: what to look for is collected before the first row goes, kept encrypted under a key of its own, and destroyed
with the certificate. One pass over each table serves a whole batch of erasures: the texts stream by (core.privacy.sieve), which
says what may be somewhere in the table; only then its rows are asked, and judged one by one.

A finding names a place, never a content. Nothing here changes a row.
"""

import json
import re
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Column, ColumnElement, Label, Table, Text, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from core import keys
from core.errors import DatabaseError
from core.models.base import Base, among
from core.models.labels import Category, ColumnLabel, Erasure, TableLabel
from core.models.platform import EmailLog, Enrollment, Student, StudentProfile, Visitor
from core.models.standing import Correction
from core.models.ways import fates
from core.privacy import suppression
from core.privacy.sieve import EMAIL, ID, NAME, PHONE, Sieve, Trace, plain, spellings
from core.processors import local
from core.processors.protocol import Person

MOST_TOLD = 200
SHORTEST_ID, SHORTEST_NAME, SHORTEST_PHONE, SURE_PHONE, LAST_DIGITS = 8, 5, 7, 9, 10
_NONCE, _BOUND_TO = 12, b"resocode-traces-1"
_BETWEEN = r"[^0-9a-z\n]{0,3}"


@dataclass(frozen=True)
class Traces:
    """What identified one person. ``began``: whoever signs up with the same address after it is somebody new."""

    kind: str
    id: uuid.UUID
    email_hash: str
    forms: tuple[uuid.UUID, ...]
    emails: tuple[str, ...]
    phones: tuple[str, ...]
    ids: tuple[str, ...]
    names: tuple[str, ...]

    @cached_property
    def looked_for(self) -> "tuple[Trace, ...]":
        """Every trace, in the spellings in which it may stand somewhere."""
        found = [Trace(EMAIL, True, each, _email(each)) for each in self.emails]
        found += [Trace(ID, True, each, _any(spellings(each))) for each in self.ids if len(each) >= SHORTEST_ID]
        found += [_phone(each) for each in self.phones if len(_digits(each)) >= SHORTEST_PHONE]
        found += [Trace(NAME, False, each, _word(each)) for each in self.names if _tells(each)]
        return tuple(found)


@dataclass(frozen=True)
class Finding:
    """Something is left: in which column of which row, what kind of trace. ``sure``: it is about this person; otherwise a
    person has to judge. ``row`` is the row's own key."""

    table: str
    column: str
    row: str
    trace: str
    sure: bool


@dataclass(frozen=True)
class Scan:
    """What one pass found, by erasure, and what it looked at: evidence for the certificates."""

    findings: Mapping[uuid.UUID, tuple[Finding, ...]]
    tables: int
    columns: int
    at: datetime


def traces(session: Session, person: Person) -> bytes:
    """Collect what the scan will look for of one person: :func:`traces_together` for one."""
    return traces_together(session, local.known_together(session, [person]))[0]


def traces_together(session: Session, people: Sequence[Person]) -> list[bytes]:
    """Collect what the scan will look for of each, as the worker, before the first row goes; return it encrypted.

    All that finds their rows has to be known (local.known).
    """
    students, forms = suppression.whose(people)
    kept = [_Kept() for _ in people]
    own = select(Student.id, Student.name, Student.email, Student.source_key, StudentProfile.phone).outerjoin(
        StudentProfile, StudentProfile.student_id == Student.id).where(among(Student.id, students))  # fmt: skip
    left = select(Visitor.id, Visitor.name, Visitor.email, Visitor.source_key, Visitor.phone).where(among(Visitor.id, forms)).order_by(Visitor.id)  # fmt: skip
    for owners, rows in ((students, own), (forms, left)):
        for row in session.execute(rows) if owners else ():
            for place in owners[row.id]:
                kept[place].rows.append(row)
    for column, owners in ((EmailLog.student_id, students), (EmailLog.visitor_id, forms)):
        used = select(column, EmailLog.address).where(among(column, owners)).distinct()
        for owner, address in session.execute(used) if owners else ():
            for place in owners[owner] if owner else ():
                kept[place].used.append(address)
    replaced = select(Correction).where(
        among(Correction.student_id, students) | among(Correction.visitor_id, forms), Correction.state == "in force")  # fmt: skip
    for each in session.scalars(replaced):
        for place in {*students.get(each.student_id, ()), *forms.get(each.visitor_id, ())}:  # type: ignore[arg-type]
            if each.reason == "never theirs":
                kept[place].never.append(each.old_value)
            elif each.field.endswith(".email"):
                kept[place].earlier.append(each.old_value)
    enrolled = select(Enrollment.student_id, Enrollment.id).where(among(Enrollment.student_id, students))
    for student, enrollment in session.execute(enrolled):
        for place in students[student]:
            kept[place].enrolled.append(enrollment)
    seal = sealer()
    return [seal(each.of(person)) for each, person in zip(kept, people, strict=True)]


@dataclass
class _Kept:
    """What identifies one person, as it is collected."""

    rows: list[Any] = field(default_factory=list)
    used: list[str | None] = field(default_factory=list)
    earlier: list[str | None] = field(default_factory=list)
    never: list[str | None] = field(default_factory=list)
    enrolled: list[uuid.UUID] = field(default_factory=list)

    def of(self, person: Person) -> Traces:
        used = [each for each in self.used if each not in self.never]
        ids = [str(each) for each in (person.id, *person.forms, *self.enrolled)]
        return Traces(
            kind=person.kind, id=person.id, email_hash=(person.email_hash or b"").hex(), forms=person.forms,
            emails=_distinct([row.email for row in self.rows] + used + self.earlier),
            phones=_distinct(row.phone for row in self.rows), names=_distinct(row.name for row in self.rows),
            ids=_distinct(ids + [row.source_key for row in self.rows]),
        )  # fmt: skip


def scan(
    session: Session, *, batch: Mapping[uuid.UUID, bytes], began: Mapping[uuid.UUID, datetime], now: datetime,
    spared: frozenset[uuid.UUID] = frozenset(),
) -> Scan:  # fmt: skip
    """Look for everything that is left of a batch of erased people, as the worker: one pass over each table.

    ``batch`` maps each erasure to its traces, ``began`` to the instant after which an account or form with the same address is
    a new person's. Of erasures in ``spared`` a legal hold keeps rows: those that still lead to the person are no residue.
    Raises DatabaseError when traces cannot be read: then nothing is proven.
    """
    people = {erasure: unsealed(each) for erasure, each in batch.items()}
    excused = _excused(session, people, began, spared)
    looked_for = Sieve({trace for person in people.values() for trace in person.looked_for})
    fixed = _of_known_words(session)
    found: dict[uuid.UUID, list[Finding]] = {erasure: [] for erasure in people}
    tables = columns = 0
    for table in Base.metadata.sorted_tables:
        texts = searched(table)
        tables, columns = tables + bool(texts), columns + len(texts)
        free = [column for column in texts if (table.fullname, column.name) not in fixed]
        if free and (suspected := looked_for.suspects(session, table, free)):
            for erasure, finding in _in_table(session, table, free, people, suspected, excused):
                found[erasure].append(finding)
    return Scan({erasure: tuple(each) for erasure, each in found.items()}, tables, columns, now)


def searched(table: Table) -> list[Column[object]]:
    """Return the columns of a table in which anything can be written: text and json."""
    return [column for column in table.columns if isinstance(column.type, (Text, JSONB))]


def sealed(found: Traces) -> bytes:
    """Return traces as the database keeps them: ``<key id>:`` nonce, ciphertext."""
    return sealer()(found)


def sealer() -> Callable[[Traces], bytes]:
    """Return what seals the traces of many under the key that is current now: it is read once."""
    key = keys.current("traces")
    cipher, names = AESGCM(key.secret[:32]), [each.name for each in fields(Traces)]

    def seal(found: Traces) -> bytes:
        nonce, told = secrets.token_bytes(_NONCE), {name: getattr(found, name) for name in names}
        return f"{key.id}:".encode() + nonce + cipher.encrypt(nonce, json.dumps(told, default=str).encode(), _BOUND_TO)

    return seal


def unsealed(kept: bytes) -> Traces:
    """Return the traces of one person. Raises DatabaseError when the key is gone or the bytes were changed."""
    key_id, _, rest = bytes(kept).partition(b":")
    key = keys.keys("traces").get(key_id.decode(errors="replace"))
    try:
        if key is None:
            raise InvalidTag
        found = json.loads(AESGCM(key.secret[:32]).decrypt(rest[:_NONCE], rest[_NONCE:], _BOUND_TO))
    except InvalidTag as error:
        raise DatabaseError(
            "What the residue scan looks for cannot be read: the key for traces is not the one it was written with."
        ) from error
    forms = tuple(uuid.UUID(each) for each in found["forms"])
    told = (tuple(found[name]) for name in ("emails", "phones", "ids", "names"))
    return Traces(found["kind"], uuid.UUID(found["id"]), found["email_hash"], forms, *told)


def _in_table(
    session: Session, table: Table, texts: Sequence[Column[object]], people: Mapping[uuid.UUID, Traces],
    suspected: set[Trace], excused: Mapping[uuid.UUID, local.Roots],
) -> Iterator[tuple[uuid.UUID, Finding]]:  # fmt: skip
    """Ask a table for the rows in which something was seen go by, and judge them."""
    who = {erasure for erasure, person in people.items() if not suspected.isdisjoint(person.looked_for)}
    key = func.concat_ws(" ", *(cast(column, Text) for column in table.primary_key)).label("row_key")
    bodies = [func.lower(cast(column, Text)).label(f"text_{place}") for place, column in enumerate(texts)]
    fate = next((each for each in fates("student") if each.table == table.fullname), None)
    may_be = {each: local.condition(fate, excused[each]) for each in who if fate and any(excused[each].values())}
    columns = [key, *bodies, *(condition.label(str(each)) for each, condition in may_be.items())]
    here = or_(*(_roughly(body, trace) for trace in suspected for body in bodies))
    rows = session.execute(select(*columns).select_from(table).where(here).limit(MOST_TOLD * len(who)))
    for row in rows.mappings():
        for erasure in who:
            if erasure in may_be and row[str(erasure)]:
                continue
            for number, column in enumerate(texts):
                if finding := _judged(table, column, row["row_key"], row[f"text_{number}"] or "", people[erasure]):
                    yield erasure, finding


def _roughly(body: Label[Any], trace: Trace) -> ColumnElement[bool]:
    """Whether a text is worth judging: no row may be missing, one too many does no harm."""
    if trace.kind == PHONE:
        return func.regexp_replace(body.element, "[^0-9]", "", "g").contains(trace.value, autoescape=True)
    return or_(*(body.element.contains(each, autoescape=True) for each in spellings(trace.value)))


def _of_known_words(session: Session) -> set[tuple[str, str]]:
    """The columns in which the database itself allows nothing but a list of words: nothing else can stand there."""
    listed = text("""
        select n.nspname || '.' || c.relname, a.attname
        from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attnum = k.conkey[1]
        where k.contype = 'c' and k.convalidated and cardinality(k.conkey) = 1
          and pg_get_constraintdef(k.oid) ~ '^CHECK \\(\\(\\w+ = ANY \\(ARRAY\\[(''[^'']*''::text(, )?)+\\]\\)\\)\\)$'""")
    return {(row[0], row[1]) for row in session.execute(listed)}


def _judged(table: Table, column: Column[object], key: str, body: str, person: Traces) -> Finding | None:
    """The surest trace of a person in one cell."""
    told = {body, plain(body)}  # in json a line break before an address is a letter, to whoever does not know
    for trace in person.looked_for:
        if not _may_stand(table, column, trace) and any(trace.compiled.search(each) for each in told):
            return Finding(
                table.fullname, column.name, key, trace.kind, trace.sure and not _is_labeled(column, Category.STAFF)
            )
    return None


def _may_stand(table: Table, column: Column[object], trace: Trace) -> bool:
    """What is no residue: opaque ids in records that are kept as proof, the name of a namesake in their own row, a name of one
    word where only codes and titles stand (a student called Java)."""
    row = table.info.get("privacy")
    if trace.kind == ID:
        return isinstance(row, TableLabel) and row.erasure is Erasure.KEEP
    one_word = len(trace.value.split()) == 1
    return trace.kind == NAME and (column.name == "name" or (one_word and _is_labeled(column, Category.NOBODY)))


def _is_labeled(column: Column[object], category: Category) -> bool:
    label = column.info.get("privacy")
    return isinstance(label, ColumnLabel) and label.category is category


def _excused(
    session: Session,
    people: Mapping[uuid.UUID, Traces],
    began: Mapping[uuid.UUID, datetime],
    spared: frozenset[uuid.UUID],
) -> dict[uuid.UUID, local.Roots]:
    """Whose rows may be there: somebody new with the same address, and, where a hold keeps something, the person."""
    roots: dict[uuid.UUID, local.Roots] = {erasure: {"student": [], "visitor": []} for erasure in people}
    told = {"erasures": list(people), "hashes": [bytes.fromhex(each.email_hash) for each in people.values()],
            "began": [began[erasure] for erasure in people]}  # fmt: skip
    for row in session.execute(text(SOMEBODY_NEW), told):
        roots[row.erasure][row.kind].append(row.id)
    for erasure, person in people.items():
        if erasure in spared:
            roots[erasure]["student"] += [person.id] if person.kind == "student" else []
            roots[erasure]["visitor"] += person.forms
    return roots


def _any(values: Sequence[str]) -> str:
    return f"(?:{'|'.join(re.escape(each) for each in values)})"


def _email(value: str) -> str:
    """An address by itself, not as a part of another one."""
    return rf"(?<![\w.+-]){_any(spellings(value))}(?![\w-]|\.\w)"


def _word(name: str) -> str:
    """A name by itself, not as a part of a longer one."""
    return rf"(?<!\w){_any(spellings(name))}(?!\w)"


def _phone(value: str) -> Trace:
    """The last digits of a number, however they are grouped: the country may be left out."""
    digits = _digits(value)
    tail = digits[-min(len(digits), LAST_DIGITS) :]
    return Trace(PHONE, len(tail) >= SURE_PHONE, tail, _BETWEEN.join(tail) + "(?![0-9])")


def _digits(value: str) -> str:
    """The digits that count: without the 0 or 00 in front."""
    return re.sub(r"\D", "", value).lstrip("0")


def _tells(name: str) -> bool:
    """Whether a name is worth a look: "Al" is in every text."""
    return len(name) >= SHORTEST_NAME


def _distinct(values: object) -> tuple[str, ...]:
    assert hasattr(values, "__iter__")
    return tuple(dict.fromkeys(str(value).strip() for value in values if value and str(value).strip()))


SOMEBODY_NEW = """
    with gone as (
        select * from unnest(cast(:erasures as uuid[]), cast(:hashes as bytea[]), cast(:began as timestamptz[])) g(erasure, hash, began))
    select g.erasure, 'student' as kind, s.id from gone g join platform.student s on s.email_hash = g.hash and s.registered_at > g.began
    union all
    select g.erasure, 'visitor', v.id from gone g join platform.visitor v on v.email_hash = g.hash and v.asked_at > g.began
"""
