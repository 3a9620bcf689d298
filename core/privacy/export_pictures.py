"""A student's progress as pictures: inline SVG that any browser draws without a script, a font or a request.

Each picture says in words what it shows, for those who do not see it and for whoever prints in black and white: states differ
by shape, too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape

WEEKS = 52
WIDE = 760
MARKS = {"done": ("✓", "done"), "in progress": ("…", "open"), "failed": ("✗", "failed"), "not started": ("", "none")}


@dataclass(frozen=True)
class Picture:
    """One picture: its ``title``, what it says in ``words``, and the SVG."""

    title: str
    words: str
    svg: str


@dataclass(frozen=True)
class Module:
    """One module of an enrollment: its title, how far it is, and the score (0 to 100) if there is one."""

    title: str
    status: str
    score: float | None


def pictures(told: str) -> tuple[Picture, ...]:
    """Return the pictures of a student: each enrollment's modules and scores, and activity by week. ``told`` is what PICTURED
    found; empty of a visitor."""
    enrollments, weeks = json.loads(told) if told else ((), ())
    found: list[Picture] = []
    for title, modules in enrollments or ():
        learned = [Module(*each) for each in modules or ()]
        if learned:
            found.append(_strip(title, learned))
        if any(each.score is not None for each in learned):
            found.append(_scores(title, learned))
    return (*found, *_activity({date.fromisoformat(week): int(clicks) for week, clicks in weeks or ()}))


def _strip(title: str, modules: Sequence[Module]) -> Picture:
    """One square a module, in the order in which they are learned."""
    by_row, size, gap = 20, 32, 6
    drawn = []
    for number, row in enumerate(modules):
        x, y = number % by_row * (size + gap), number // by_row * (size + gap)
        mark, style = MARKS.get(row.status, ("", "none"))
        drawn.append(
            f'<g><title>{_safe(row.title)}: {_safe(row.status)}</title><rect class="m {style}" x="{x}" y="{y}" width="{size}" height="{size}" rx="6"/>'
            f'<text class="mark" x="{x + size / 2:g}" y="{y + size / 2 + 5:g}" text-anchor="middle">{mark}</text></g>'
        )
    many = {state: sum(row.status == state for row in modules) for state in MARKS}
    words = f"{many['done']} of {len(modules)} modules done, {many['in progress']} in progress, {many['failed']} failed, {many['not started']} not started."
    high = (len(modules) - 1) // by_row * (size + gap) + size
    return Picture(f"{title}: modules", words, _svg(words, min(len(modules), by_row) * (size + gap), high, drawn))


def _scores(title: str, modules: Sequence[Module]) -> Picture:
    """One bar a module that has a score, with its number."""
    scored = [(row.title, float(row.score)) for row in modules if row.score is not None][:40]
    high, line = 26, 190
    drawn = []
    for number, (module, told) in enumerate(scored):
        y, score = number * high, max(0.0, min(100.0, told))
        wide = score / 100 * (WIDE - line - 60)
        name = module if len(module) <= 28 else module[:27] + "…"
        drawn.append(
            f'<text class="name" x="{line - 8}" y="{y + 16}" text-anchor="end">{_safe(name)}</text>'
            f'<rect class="bar" x="{line}" y="{y + 4}" width="{wide:.1f}" height="{high - 10}" rx="3"/>'
            f'<text class="number" x="{line + wide + 6:.1f}" y="{y + 16}">{score:g}</text>'
        )
    words = f"Scores of {len(scored)} modules, from {min(score for _, score in scored):g} to {max(score for _, score in scored):g} of 100."
    return Picture(f"{title}: scores", words, _svg(words, WIDE, len(scored) * high, drawn))


def _activity(weeks: Mapping[date, int]) -> tuple[Picture, ...]:
    """One bar a week, of the last year in which there was anything."""
    if not weeks:
        return ()
    last = max(weeks)
    first = last - timedelta(weeks=WEEKS - 1)
    clicks = {week: number for week, number in weeks.items() if week >= first}
    most, step, high = max(1, *clicks.values()), WIDE / WEEKS, 120
    drawn = [f'<line class="axis" x1="0" y1="{high}" x2="{WIDE}" y2="{high}"/>']
    for number in range(WEEKS):
        week = first + timedelta(weeks=number)
        tall = clicks.get(week, 0) / most * (high - 10)
        if tall:
            drawn.append(
                f'<g><title>Week of {week:%-d %b %Y}: {clicks[week]:,} clicks</title>'
                f'<rect class="bar" x="{number * step + 1:.1f}" y="{high - tall:.1f}" width="{step - 3:.1f}" height="{tall:.1f}" rx="2"/></g>'
            )  # fmt: skip
        if week.day <= 7:
            drawn.append(f'<text class="name" x="{number * step:.1f}" y="{high + 16}">{week:%b}</text>')
    words = (
        f"Clicks by week from {first:%-d %B %Y} to {last + timedelta(days=6):%-d %B %Y}; the busiest week has {most:,}."
    )
    return (Picture("Your activity by week", words, _svg(words, WIDE, high + 24, drawn)),)


def _svg(words: str, wide: float, high: float, drawn: Sequence[str]) -> str:
    return (
        f'<svg role="img" aria-label="{_safe(words)}" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}</svg>'
    )


def _safe(words: str) -> str:
    if words.isprintable():
        return escape(words)
    return escape("".join(char if char.isprintable() else " " for char in words))


# Of a student, by their id: enrollments with their modules, and clicks by week; a value of a statement of export_rows, as JSON.
PICTURED = """(
    with mine as materialized (
        select e.id, e.enrolled_at, c.title from platform.enrollment e join platform.cohort c on c.id = e.cohort_id
        where e.student_id = any (%(student)s::uuid[]))
    select cast(json_build_array(
      (select json_agg(json_build_array(mine.title, (
         select json_agg(json_build_array(m.title, m.status, m.score) order by m.position, m.title, m.id) from (
           select m.title, m.position, p.status, p.score, p.id
           from platform.module_progress p join platform.module m on m.id = p.module_id
           where p.enrollment_id = mine.id order by m.position, m.title, p.id limit 200) m)) order by mine.enrolled_at, mine.id)
       from mine),
      (select json_agg(json_build_array(w.week, w.clicks)) from (
         select cast(date_trunc('week', u.at at time zone 'UTC') as date) as week, sum(u.clicks) as clicks
         from platform.usage_event u where u.enrollment_id = any (array(select id from mine)) group by 1) w)) as text))
"""
