"""``index.html`` of an export: what somebody reads who is no programmer, without a network and without a script.

Everything is in the one file: words, tables, pictures as SVG, styles. Its own content security policy lets nothing else in, so
that whatever stands in a record (a name, a note) can neither run nor call anybody. Every value is escaped here and nowhere else.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from html import escape
from typing import Any

from core import cells
from core.models.labels import Category
from core.privacy.export_pictures import Picture

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:[\d.]+Z)?")
LONGEST = 600  # characters of a value on the page; the whole text is in the CSV and the JSON
SECTIONS: dict[str, str] = {
    str(Category.ACCOUNT): "Your account",
    str(Category.PROFILE): "Your profile",
    str(Category.LEARNING): "Your learning",
    str(Category.USAGE): "How you used the platform",
    str(Category.CONTACT): "What you asked us in a form",
    str(Category.INTEREST): "What you asked us in a form",
    str(Category.DEVICE): "Your device",
    str(Category.OUTSIDE): "Other records",
}
PROBLEMS = {
    "manual": "It is not connected to us, so no machine could ask it. Ask us, and a person looks there.",
    "": "It did not answer.",
}


@dataclass(frozen=True)
class Table:
    """One kind of record as the page shows it: the newest ``rows`` (plain values, as in the JSON), of ``total``; all of them are in
    ``file``. ``fields`` say of each name whether it is an instant or a day."""

    name: str
    categories: tuple[str, ...]
    fields: Sequence[tuple[str, bool]]
    rows: Sequence[Mapping[str, Any]]
    total: int
    file: str


@dataclass(frozen=True)
class Asked:
    """A processor and what it answered; ``problem`` is a code."""

    name: str
    asked: bool
    complete: bool
    problem: str
    records: int


@dataclass(frozen=True)
class Line:
    """One kind of data, for access: what for, who receives it, how long it is kept."""

    title: str
    fields: tuple[str, ...]
    purposes: tuple[str, ...]
    recipients: tuple[str, ...]
    periods: tuple[str, ...]


def page(
    *,
    name: str,
    number: str,
    kind: str,
    made_at: datetime,
    kept_until: datetime,
    policy_version: str,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    asked: Sequence[Asked],
    context: Sequence[Line],
    not_in_it: Sequence[str],
) -> bytes:
    """Return the page."""
    body = [
        f"<header><p class=brand>Resocode</p><h1>Your data</h1><p class=who><bdi>{safe(name)}</bdi></p>",
        f"<p class=quiet>Made on {moment(made_at)} for your request {safe(number)} ({'access' if kind == 'access' else 'export'}),"
        f" under the privacy policy of {safe(policy_version)}.</p></header>",
        *_short(tables, asked, kind),
        *_contents(tables, pictures, context),
        *_progress(pictures),
        *_records(tables),
        *_purposes(context),
        *_whom(asked),
        *_rest(tables, not_in_it, kept_until),
    ]
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>Your data at Resocode</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )
    return html.encode()


def safe(value: object) -> str:
    """Return a value as text of the page: escaped, without signs that cannot be shown."""
    text = str(value)
    if text.isprintable():
        return escape(text)
    return escape("".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text))


def moment(value: datetime | date) -> str:
    """``24 November 2026, 12:00 UTC``; a day without a time."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%-d %B %Y, %H:%M} UTC"
    return f"{value:%-d %B %Y}"


def told(iso: str) -> str:
    """The same of an instant or a day in words of ISO 8601, in UTC; what is written in another way as it is."""
    if not _ISO.fullmatch(iso):
        return safe(iso)
    day = f"{int(iso[8:10])} {MONTHS[int(iso[5:7]) - 1]} {iso[:4]}"
    return f"{day}, {iso[11:16]} UTC" if len(iso) > 10 else day


def _short(tables: Sequence[Table], asked: Sequence[Asked], kind: str) -> Iterator[str]:
    total = sum(table.total for table in tables)
    open_ones = [each for each in asked if not each.complete]
    if not total:
        yield "<section class=short><h2>In short</h2><p>We looked everywhere, and we hold <strong>nothing about you</strong>"
        yield " under the details that you gave us. There is nothing that you need to do.</p></section>"
        return
    yield f"<section class=short><h2>In short</h2><p>This is everything that we hold about you: <strong>{total:,}"
    yield f" record{'s' if total != 1 else ''}</strong> of {len(tables)} kind{'s' if len(tables) != 1 else ''}. "
    yield "Read it here; for other programs, the same is in the files beside this page."
    yield "</p>"
    if open_ones:
        names = ", ".join(safe(each.name) for each in open_ones)
        yield f"<p class=note>Not all of those who help us could be asked by machine: {names}. <a href='#asked'>What that means</a></p>"
    if kind == "access":
        yield "<p>You also asked what we do with it: <a href='#why'>what for, who receives it, how long we keep it</a>.</p>"
    yield "</section>"


def _contents(tables: Sequence[Table], pictures: Sequence[Picture], context: Sequence[Line]) -> Iterator[str]:
    if not tables:
        return
    links = ["<a href='#progress'>Your progress in pictures</a>"] if pictures else []
    links += [f"<a href='#{_anchor(title)}'>{title}</a>" for title in _sections(tables)]
    links += ["<a href='#why'>What for, who, how long</a>"] if context else []
    links += ["<a href='#asked'>Whom we asked</a>", "<a href='#files'>The files</a>"]
    yield f"<nav>{''.join(links)}</nav>"


def _progress(pictures: Sequence[Picture]) -> Iterator[str]:
    if not pictures:
        return
    yield "<section id=progress><h2>Your progress in pictures</h2>"
    for each in pictures:
        yield f"<figure><figcaption><strong>{safe(each.title)}</strong><br>{safe(each.words)}</figcaption>"
        yield f"<div class=wide tabindex=0 role=region aria-label='{safe(each.title)}'>{each.svg}</div></figure>"
    yield "</section>"


def _sections(tables: Sequence[Table]) -> dict[str, list[Table]]:
    """The tables by section, in the order of the policy's lists; each stands where most of it belongs."""
    found: dict[str, list[Table]] = {title: [] for title in dict.fromkeys(SECTIONS.values())}
    for table in tables:
        known = [category for category in SECTIONS if category in table.categories]
        found[SECTIONS[known[0]] if known else SECTIONS[str(Category.OUTSIDE)]].append(table)
    return {title: each for title, each in found.items() if each}


def _records(tables: Sequence[Table]) -> Iterator[str]:
    for title, found in _sections(tables).items():
        yield f"<section id='{_anchor(title)}'><h2>{title}</h2>"
        for table in found:
            yield from _one(table)
        yield "</section>"


def _one(table: Table) -> Iterator[str]:
    yield f"<h3>{safe(table.name.capitalize())} <span class=quiet>{table.total:,}</span></h3>"
    if table.total == 1 and table.rows:
        yield "<dl>"
        for name, when in table.fields:
            yield f"<dt>{safe(name)}</dt><dd>{_value(table.rows[0].get(name), when)}</dd>"
        yield "</dl>"
        return
    if len(table.rows) < table.total:
        yield f"<p class=quiet>The newest {len(table.rows):,} of {table.total:,}; all of them are in <code>{safe(table.file)}</code>.</p>"
    yield f"<div class=wide tabindex=0 role=region aria-label='{safe(table.name)}'><table><thead><tr>"
    yield "".join(f"<th scope=col>{safe(name)}</th>" for name, _ in table.fields)
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{_value(row.get(name), when)}</td>" for name, when in table.fields) + "</tr>"
    yield "</tbody></table></div>"


def _value(value: object, when: bool) -> str:
    if value is None or value == "":
        return "<span class=quiet>–</span>"
    if isinstance(value, str):
        if when:
            return f"<span class=when>{told(value)}</span>"
        cut = value if len(value) <= LONGEST else value[:LONGEST] + "…"
        return f"<bdi>{safe(cut)}</bdi>"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return safe(cells.shown(value))


def _purposes(context: Sequence[Line]) -> Iterator[str]:
    if not context:
        return
    yield "<section id=why><h2>What for, who receives it, how long we keep it</h2>"
    yield "<div class=wide tabindex=0 role=region aria-label='What for, who, how long'><table><thead><tr>"
    yield (
        "".join(f"<th scope=col>{each}</th>" for each in ("What", "What for", "Who receives it", "How long"))
        + "</tr></thead><tbody>"
    )
    for line in context:
        yield f"<tr><td><strong>{safe(line.title)}</strong><br><span class=quiet>{safe(', '.join(line.fields))}</span></td>"
        yield f"<td>{_listed(line.purposes)}</td><td>{_listed(line.recipients) if line.recipients else 'nobody but us'}</td>"
        yield f"<td>{_listed(line.periods)}</td></tr>"
    yield "</tbody></table></div>"
    yield "<h3>Your rights</h3><p>You can have wrong data corrected, have your data erased or restricted, object, and switch mail"
    yield " off; answer the letter that came with this file. You can complain to a data protection authority, and you can go to"
    yield " court.</p></section>"


def _listed(words: Sequence[str]) -> str:
    return "<br>".join(safe(word) for word in words)


def _whom(asked: Sequence[Asked]) -> Iterator[str]:
    yield "<section id=asked><h2>Whom we asked</h2><p>These help us run the platform. We asked each of them for what it holds about you.</p>"
    yield "<div class=wide tabindex=0 role=region aria-label='Whom we asked'><table><thead><tr><th scope=col>Who</th><th scope=col>What it answered</th></tr></thead><tbody>"
    yield "<tr><td>Our own database</td><td>All of it is in this file.</td></tr>"
    for each in asked:
        if each.complete:
            words = (
                f"{each.records:,} record{'s' if each.records != 1 else ''}, in this file."
                if each.records
                else "It holds nothing about you."
            )
        else:
            words = PROBLEMS.get(each.problem, PROBLEMS[""])
            words += f" What it gave ({each.records:,} records) is in this file." if each.records else ""
        yield f"<tr><td>{safe(each.name)}</td><td>{safe(words)}</td></tr>"
    yield "</tbody></table></div></section>"


def _rest(tables: Sequence[Table], not_in_it: Sequence[str], kept_until: datetime) -> Iterator[str]:
    yield "<section id=files><h2>The files</h2><dl><dt><code>index.html</code></dt><dd>This page.</dd>"
    if tables:
        yield "<dt><code>csv</code></dt><dd>One table for each kind of record; opens in a spreadsheet. Where a cell could be taken"
        yield " for a formula it begins with an apostrophe.</dd>"
    yield "<dt><code>data.json</code></dt><dd>The same for programs, exact; <code>schema.json</code> describes it.</dd>"
    yield "<dt><code>manifest.json</code></dt><dd>What is in here, counted, with a checksum (SHA-256) of each file.</dd></dl>"
    yield "<h3>What is not in it</h3><ul>" + "".join(f"<li>{safe(each)}</li>" for each in not_in_it) + "</ul>"
    yield "<p>Where something that others wrote names somebody else, that name was removed, or the text was left out; it says so there.</p>"
    yield f"<p class=quiet>Our copy of this file is destroyed by {moment(kept_until)}. Keep yours where only you can read it.</p></section>"


def _anchor(title: str) -> str:
    return "".join(char for char in title.lower().replace(" ", "-") if char.isalnum() or char == "-")


STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--quiet:#5b6573;--line:#d9dee5;--paper:#fff;--soft:#f4f6f9;--blue:#1f5fbf;--green:#2c7a4b;--red:#b3352c;--amber:#9a6a00}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--quiet:#a3adba;--line:#39424e;--paper:#14181d;--soft:#1d232a;--blue:#7fb0f5;--green:#63c08a;--red:#ef8d84;--amber:#e0b252}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:860px;margin:0 auto;padding:40px 20px 80px}h1{font-size:34px;line-height:1.2;margin:0}h2{font-size:22px;margin:48px 0 12px}h3{font-size:17px;margin:26px 0 8px}
p{margin:8px 0}a{color:var(--blue)}.brand{font-weight:700;letter-spacing:.04em;color:var(--blue);margin:0 0 18px}.who{font-size:20px;margin:4px 0;overflow-wrap:anywhere}
.quiet,figcaption{color:var(--quiet)}h3 .quiet{font-weight:400;font-size:14px;margin-left:6px}.short{background:var(--soft);border-radius:12px;padding:6px 20px 14px;margin:28px 0}
.short h2{margin-top:12px;font-size:18px}.note{border-left:3px solid var(--amber);padding-left:12px}nav{display:flex;flex-wrap:wrap;gap:6px 18px;margin:18px 0}
figure{margin:18px 0 26px}figcaption{margin-bottom:10px}figcaption strong{color:var(--ink)}.wide{overflow-x:auto}svg{display:block;max-width:none}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:start;vertical-align:top;padding:7px 12px 7px 0;border-bottom:1px solid var(--line);min-width:70px;max-width:420px;overflow-wrap:anywhere}
th{font-weight:600;white-space:nowrap}.when{white-space:nowrap}td bdi,dd bdi{white-space:pre-wrap}dl{display:grid;grid-template-columns:minmax(120px,220px) 1fr;gap:6px 18px;margin:8px 0}
dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}code{background:var(--soft);padding:1px 5px;border-radius:5px;font-size:14px}
.m{stroke-width:1.5;stroke:var(--line);fill:var(--soft)}.m.done{fill:var(--green);stroke:var(--green)}.m.open{stroke:var(--blue);stroke-width:2.5}.m.failed{stroke:var(--red);stroke-width:2.5}
.mark{font-size:15px}svg .mark{fill:var(--ink);font-weight:700}.m.done+.mark{fill:var(--paper)}.bar{fill:var(--blue)}.axis{stroke:var(--line)}.name{fill:var(--quiet);font-size:12px}.number{fill:var(--ink);font-size:12px}
@media print{main{max-width:none;padding:0}nav{display:none}h2{break-after:avoid}tr{break-inside:avoid}.wide{overflow:visible}}
""".replace("\n", "")


def lines(entries: Sequence[Any]) -> tuple[Line, ...]:
    """Return the record of processing (core.policy.processing_record) as lines of the page."""
    return tuple(Line(each.title, each.fields, each.purposes, each.recipients, each.periods) for each in entries)
