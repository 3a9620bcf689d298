"""The audit as a file that proves itself: without this database, this program's keys or our word.

Each line carries the hash of the one before and its own; the breaks that two people acknowledged travel along (in a CSV as rows
without a number before the first line), and the signed checkpoints (JSON Lines only), with the public key that signed them. :func:`verify_file` recomputes everything from the file alone. A filtered export has gaps: each
line still proves itself, what is between them is not in the file.
"""

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import signing
from core.errors import BadInput
from core.models.audit_filter import AuditFilter
from core.models.privacy import AuditEvent, AuditSeal
from core.privacy.audit import (
    DOMAIN,
    Action,
    Checkpoint,
    Gap,
    append,
    checkpoints,
    gap_of,
    seal_statement,
    standing,
    statement,
)

COLUMNS = (
    "seq", "at", "actor", "actor_id", "session_id", "action", "subject_kind", "subject_id", "details", "previous", "hash",
)  # fmt: skip


BREAK = "acknowledged break"  # of a row in a CSV that is no line


@dataclass(frozen=True)
class FileVerification:
    """What an exported file proves by itself. ``gaps`` counts the places where lines were left out by a filter; ``keys`` are
    the public keys (hex) of the checkpoints that fit a line of the file. ``broken``: the breaks that two people acknowledged, in
    words; the lines in them prove nothing."""

    lines: int
    gaps: int
    problem: str
    checkpoints: int
    keys: tuple[str, ...]
    broken: tuple[str, ...] = ()


def export_jsonl(session: Session, wanted: AuditFilter, *, now: datetime, folder: Path | None = None) -> Iterator[str]:
    """Yield the lines of a JSON Lines file: a head with filters and checkpoints, the lines, and an end with their number."""
    filters = {name: str(value) for name, value in asdict(wanted).items() if value}
    signed = [asdict(each) for each in checkpoints(folder)]
    breaks = _breaks(session)
    first: dict[str, Any] = {"export": DOMAIN, "at": now.isoformat(), "filters": filters, "checkpoints": signed}
    yield _json(first | ({"breaks": breaks} if breaks else {}))
    count, head = 0, ""
    for row in _rows(session, wanted):
        count, head = count + 1, row["hash"]
        yield _json(row)
    yield _json({"end": count, "head": head})


def export_csv(session: Session, wanted: AuditFilter) -> Iterator[str]:
    """Yield the lines of a CSV with the same columns, acknowledged breaks first; no cell of the audit can be a formula."""
    yield ",".join(COLUMNS)
    for told in _breaks(session):
        yield _csv_line(dict.fromkeys(COLUMNS, "") | {"action": BREAK, "details": _json(told)})
    for row in _rows(session, wanted):
        yield _csv_line(row)


def verify_file(file: Path) -> FileVerification:
    """Recompute what an exported file says of itself. Raises BadInput when it is no such file, or was cut short."""
    signed, gaps_known, rows = _read(file)
    known = {each.size: each for each in standing(signed, _signature_holds)}
    count, gaps, problem, used, before = 0, 0, "", set(), None
    for row in rows:
        count, seq = count + 1, int(row["seq"])
        gaps += before is not None and seq != before[0] + 1
        if any(gap.covers(seq) for gap in gaps_known):
            before = (seq, row["hash"])
            continue
        if problem := _problem(row, seq, before, known.get(seq)):
            break
        used |= {seq} & set(known)
        before = (seq, row["hash"])
    keys = tuple(sorted({known[s].public_key for s in used}))
    return FileVerification(count, gaps, problem, len(used), keys, tuple(gap.words for gap in gaps_known))


def record_audit_export(session: Session, *, rows: int, now: datetime) -> None:
    """Record that the command line wrote lines of the audit into a file."""
    append(session, Action.LIST_EXPORTED, now=now, what="audit", rows=rows)


def table_of_events() -> str:
    """Return docs/audit.md: every kind of line, when it is written, with which details."""
    rows = [f"| {each} | {each.when} | {', '.join(each.details) or '–'} |" for each in Action]
    return EVENTS_HEAD + "\n".join(rows) + "\n"


EVENTS_HEAD = """# What the audit records

Made by `python -m core audit events > docs/audit.md`; a test compares. Who acted, in which session and when stand in every line
by themselves; details are codes, counts and opaque ids.

| Line | Written when | Details |
|---|---|---|
"""


def _breaks(session: Session) -> list[dict[str, Any]]:
    confirmed = select(AuditSeal).where(AuditSeal.confirmed_at.is_not(None)).order_by(AuditSeal.confirmed_at)
    return [_seal_row(seal) for seal in session.scalars(confirmed)]


def _csv_line(row: dict[str, str]) -> str:
    cells = io.StringIO()
    csv.writer(cells, quoting=csv.QUOTE_ALL, lineterminator="").writerow(row[name] for name in COLUMNS)
    return cells.getvalue()


def _problem(row: dict[str, str], seq: int, before: tuple[int, str] | None, signed: Checkpoint | None) -> str:
    parts = [DOMAIN, row["previous"], row["seq"], row["at"], row["actor"], *(row[n] or "-" for n in COLUMNS[3:8])]
    if hashlib.sha256("\n".join([*parts, row["details"]]).encode()).hexdigest() != row["hash"]:
        return f"line {seq} was changed"
    if before and (seq <= before[0] or (seq == before[0] + 1 and row["previous"] != before[1])):
        return f"line {seq} does not follow the one before"
    if signed and (signed.head != row["hash"] or not _signature_holds(signed)):
        return f"line {seq} is not the one that was signed"
    return ""


def _signature_holds(made: Checkpoint) -> bool:
    return signing.holds(made.public_key, made.signature, statement(made.at, made.size, made.head, lost=made.lost))


def _rows(session: Session, wanted: AuditFilter) -> Iterator[dict[str, str]]:
    listed = select(*AuditEvent.__table__.columns).where(*wanted.conditions()).order_by(AuditEvent.seq)
    for line in session.execute(listed.execution_options(yield_per=5000)).mappings():
        yield {name: _text(line[name]) for name in COLUMNS}


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return "" if value is None else str(value)


def _read(file: Path) -> tuple[list[Checkpoint], list[Gap], Iterator[dict[str, str]]]:
    with file.open(encoding="utf-8", newline="") as opened:
        first = opened.readline().rstrip("\r\n")
    if first == ",".join(COLUMNS):
        return [], [_gap(_parsed_break(row)) for row in _csv_breaks(file)], _csv_rows(file)
    head = _parsed(first)
    if head.get("export") != DOMAIN:
        raise BadInput(f"{file.name} is not an export of the audit.")
    return (
        [Checkpoint(**each) for each in head["checkpoints"]],
        list(map(_gap, head.get("breaks", ()))),
        _json_rows(file),
    )


def _seal_row(seal: AuditSeal) -> dict[str, Any]:
    """An acknowledged break as the head of a file tells it, with everything that its signature covers."""
    return {name: value.hex() if isinstance(value, bytes) else value.isoformat() if isinstance(value, datetime) else value
            if isinstance(value, int | None) else str(value) for name, value in
            ((column.name, getattr(seal, column.name)) for column in AuditSeal.__table__.columns)}  # fmt: skip


def _gap(row: dict[str, Any]) -> Gap:
    """Read an acknowledged break back. Raises BadInput unless its own signature holds: nobody adds one to hide a change."""
    times = {name: datetime.fromisoformat(row[name]) for name in ("checked_at", "confirmed_at", "proposed_at")}
    raw = {name: bytes.fromhex(row[name]) if row[name] is not None else None for name in ("digest", "end_head")}
    seal = AuditSeal(**(row | times | raw))
    if not signing.holds(seal.public_key or "", seal.signature or "", seal_statement(seal)):
        raise BadInput("An acknowledged break in the file is not signed as it says. Do not trust the file.")
    return gap_of(seal)


def _csv_rows(file: Path) -> Iterator[dict[str, str]]:
    """The lines of the audit in a CSV: the rows with a number."""
    return (row for row in _every_csv_row(file) if row["seq"])


def _csv_breaks(file: Path) -> Iterator[dict[str, str]]:
    """The rows without a number, which come before the first line."""
    return itertools.takewhile(lambda row: not row["seq"], _every_csv_row(file))


def _every_csv_row(file: Path) -> Iterator[dict[str, str]]:
    begun = False
    with file.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            if (
                None in row.values()
                or set(row) != set(COLUMNS)
                or (not row["seq"] and (begun or row["action"] != BREAK))
            ):
                raise BadInput(f"{file.name} was cut short or changed.")
            begun = begun or bool(row["seq"])
            yield row


def _parsed_break(row: dict[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(row["details"])
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"checked_at", "confirmed_at", "proposed_at", "digest", "end_head"} <= set(
        found
    ):
        raise BadInput("An acknowledged break in the file cannot be read. Do not trust the file.")
    return found


def _json_rows(file: Path) -> Iterator[dict[str, str]]:
    count, ended = 0, False
    with file.open(encoding="utf-8") as opened:
        next(opened)
        for line in opened:
            row = _parsed(line)
            if ended := "end" in row:
                ended = row["end"] == count
                break
            count += 1
            yield row
    if not ended:
        raise BadInput(f"{file.name} was cut short: its end is missing.")


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not (set(found) >= set(COLUMNS) or "export" in found or "end" in found):
        raise BadInput("The file is not an export of the audit, or it was cut short.")
    return found


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=True, separators=(",", ":"))
