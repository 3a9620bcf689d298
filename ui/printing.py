"""The yearly report as one page to print: a file of its own, so that it looks the same on every machine and asks for nothing."""

from collections.abc import Sequence
from datetime import datetime
from html import escape

STYLE = (
    "body{font:11pt/1.45 system-ui,sans-serif;color:#0a1318;max-width:52em;margin:2.5em auto;padding:0 1em}"
    "h1{font-size:17pt;margin:0}p{color:#48565e;margin:.4em 0 1.4em}table{border-collapse:collapse;width:100%;margin:1em 0}"
    "th,td{border-bottom:1px solid #cfd9de;padding:.35em .5em;text-align:right;font-variant-numeric:tabular-nums}"
    "th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid #0a1318;vertical-align:bottom}"
    "tr:last-child td{font-weight:600}@media print{body{margin:0;max-width:none}}"
)


def page(
    title: str,
    said: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    notes: Sequence[str],
    *,
    made: datetime,
) -> bytes:
    """Return a whole HTML page; every cell is escaped. ``said`` stands below the title, ``notes`` at the end."""
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    foot = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1><p>{escape(said)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"{foot}<p>Made on {made:%Y-%m-%d %H:%M} UTC.</p></body></html>"
    ).encode()


DOCUMENT_STYLE = STYLE + (
    "h2{font-size:12.5pt;margin:1.6em 0 .2em}.d th,.d td{text-align:left;vertical-align:top}.d tr:last-child td{font-weight:400}"
    ".d{font-size:9.5pt}.d tr{break-inside:avoid}"
)


def document(
    title: str,
    said: str,
    sections: Sequence[tuple[str, Sequence[str], Sequence[Sequence[object]]]],
    *,
    notes: Sequence[str] = (),
    made: datetime,
) -> bytes:
    """Return a whole HTML page of several tables of words: (heading, header, rows) each; every cell is escaped."""
    parts = []
    for heading, header, rows in sections:
        head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
        parts.append(
            f'<h2>{escape(heading)}</h2><table class="d"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        )
    foot = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{DOCUMENT_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1><p>{escape(said)}</p>{''.join(parts)}{foot}<p>Made on {made:%Y-%m-%d %H:%M} UTC.</p></body></html>"
    ).encode()
