"""Makes the CSV files of this folder. The same every time: run it only to change the records, and commit what it wrote.

    python data/seed/generate.py

Days are offsets from the day of seeding. People, addresses and numbers are made up; addresses lie below reserved domains.
"""

import csv
import random
from pathlib import Path
from typing import Any

from faker import Faker

HERE = Path(__file__).parent
LOCALES = ("en_GB", "de_DE", "es_ES", "tr_TR", "fr_FR", "pl_PL")
PROGRAMS = {
    "PY": ("Python", 8),
    "WEB": ("Web Basics", 6),
    "DATA": ("Data Analysis", 9),
    "CLOUD": ("Cloud", 7),
    "JAVA": ("Java", 8),
}
TOPICS = ("Setup", "Basics", "Lists", "Functions", "Files", "Testing", "Data", "Services", "Final project")
# program, number, first day, length, seats, students
COHORTS = (
    ("PY", 11, -640, 150, 40, 34),
    ("WEB", 5, -600, 120, 40, 30),
    ("DATA", 3, -520, 160, 30, 24),
    ("JAVA", 7, -430, 150, 40, 36),
    ("PY", 12, -461, 150, 40, 38),
    ("CLOUD", 2, -300, 140, 12, 8),
    ("WEB", 6, -140, 210, 60, 52),
    ("PY", 13, -96, 150, 50, 46),
    ("DATA", 4, -75, 160, 40, 36),
    ("CLOUD", 3, -54, 140, 30, 27),
    ("JAVA", 8, -33, 150, 100, 92),
    ("DATA", 5, 6, 160, 30, 17),
    ("WEB", 7, 10, 120, 24, 13),
    ("PY", 14, 20, 150, 30, 28),
)
PACES = {"WEB-8": (10, 16)}  # days for a module, of the fastest and the slowest; 14 is the plan
HOSTILE = (
    "=cmd|' /C calc'!A0",
    '+49 =HYPERLINK("http://example.org")',
    "@SUM(1+1)",
    "<img src=x onerror=alert(1)>",
    "<script>document.title='x'</script>",
    "[click](javascript:alert(1))",
    ":material/warning: :red[Boss]",
    "**Bold** _and_ `code` $x^2$",
    "Siobhán O'Brien",
    'Quote "Q" Quine',
    "Robert'); DROP TABLE student;--",
    "محمد الأمين",
    "שירה לוי",
    "\u202eevil\u202c Olive",
    "李小龍",
    "Ångström Þórsdóttir",
    "E\u0301lodie (decomposed)",
    "👩🏽‍🚀 Astro 👨‍👩‍👧‍👦",
    "Zoë " + "Maximiliane-" * 12 + "Schmidt",
    "X",
    "-1+1",
    "=1+1",
    "null",
    "O\u200bzero\u200bwidth",
)
LEVELS = ("beginner", "beginner", "beginner", "intermediate", "intermediate", "advanced", "not stated")

random_ = random.Random(20260420)
fakers = [Faker(locale) for locale in LOCALES]
for place, faker in enumerate(fakers):
    faker.seed_instance(1000 + place)
tables: dict[str, list[dict[str, Any]]] = {}


def add(table: str, **row: Any) -> None:
    """Put one row into a table."""
    tables.setdefault(table, []).append(row)


def people(many: int) -> list[str]:
    """Return names: the hostile ones first, then ordinary ones."""
    return [*HOSTILE, *(random_.choice(fakers).name() for _ in range(many - len(HOSTILE)))]


def make_catalog() -> None:
    """Programs, their modules and cohorts."""
    for code, (title, modules) in PROGRAMS.items():
        add("programs", key=code, code=code, title=title)
        for position in range(1, modules + 1):
            add("modules", key=f"{code}-{position}", program=code, position=position, title=f"M{position} {TOPICS[position - 1]}",
                kind="project" if position == modules else "exercise", due_day=position * 14)  # fmt: skip
    for code, number, first, length, seats, _ in COHORTS:
        title = PROGRAMS[code][0]
        add("cohorts", key=f"{code}-{number}", program=code, code=f"{code}-{number}", title=f"{title} {number}", starts_on=first,
            ends_on=first + length, seats=seats)  # fmt: skip


def make_students(many: int) -> list[str]:
    """Students with profile and consent record; ages are kept there only."""
    known = []
    for number, name in enumerate(people(many), start=1):
        key = f"s{number:03}"
        known.append(key)
        closed = {60: 1, 61: 29, 62: 30, 63: 31, 76: 3, 77: 10}.get(number)
        add("students", key=key, name=name, email=f"student{number:03}@example.org", experience_level=random_.choice(LEVELS),
            account_status="closed" if closed else "open", registered_at=-700 + number, closed_at=-closed + 0.4 if closed else "")  # fmt: skip
        if number % 3 == 0:
            add("student_profiles", student=key, phone=f"+49 000 {number:06}", headline="Learning after work", link="https://example.org/me",
                avatar_url=f"https://images.example.org/{key}.png", opted_out_at=-20 if number % 9 == 0 else "")  # fmt: skip
        make_consent(key, number)
    return known


def make_consent(key: str, number: int) -> None:
    """Adults, minors with and without consent, ages not declared."""
    row = {
        "student": key,
        "birth_date": "",
        "adult": "",
        "declared_at": "",
        "guardian": "",
        "state": "not needed",
        "verified_at": "",
        "asked_at": "",
        "answer_by": "",
        "requested_at": "",
        "method": "",
        "entered_at": "",
        "changed_at": "",
    }
    if number % 40 == 7:
        add("guardians", key=key, student=key, name=f"Guardian of {number}", email=f"guardian{number:03}@example.com")
        state = ("verified", "missing", "verified", "given", "withdrawn")[number // 40 % 5]
        row |= {"birth_date": -365 * 17, "declared_at": -30, "guardian": key, **consent_so_far(state)}
    elif number % 50 != 11:
        random_.randint(
            19, 60
        )  # was a birth date, which nobody of age has here; the records behind it stay as they are
        row |= {"adult": "true", "declared_at": -700 + number}
    add("consents", **row)


def consent_so_far(state: str) -> dict[str, object]:
    """What a consent record holds that has come as far as a state."""
    row: dict[str, object] = {"state": state, "changed_at": -28 if state == "missing" else -20}
    if state in ("requested", "given", "verified", "refused", "withdrawn"):
        row["requested_at"] = -28
    if state in ("given", "verified"):
        row |= {"method": "signed form", "entered_at": -22}
    if state == "verified":
        row["verified_at"] = -20
    return row


def make_enrollments(students: list[str]) -> None:
    """Every cohort gets its students; some students come back for a second program."""
    place = 0
    for code, number, first, length, _, many in COHORTS:
        cohort = f"{code}-{number}"
        for _ in range(many):
            student = students[place % len(students)]
            place += 1
            make_enrollment(student, code, cohort, first, first + length)


def make_enrollment(student: str, code: str, cohort: str, first: int, last: int) -> None:
    """One enrollment with all that follows from it."""
    key = f"{cohort}-{student}"
    enrolled = min(first - random_.randint(1, 60), -1) if first > -30 else first - random_.randint(1, 60)
    if first > 0:
        enrolled = -random_.randint(1, 40)
    left = first + random_.randint(5, last - first) if random_.random() < 0.12 else None
    withdrawn = left is not None and left < 0
    status = "withdrawn" if withdrawn else "registered" if first > 0 else "active" if last >= 0 else "ended"
    bounced = random_.random() < 0.04
    add("enrollments", key=key, student=student, cohort=cohort, program=code, status=status, enrolled_at=enrolled + 0.4,
        started_at=first if first <= 0 else "", withdrawn_at=left if withdrawn else "", confirmed_at="" if bounced else enrolled + 0.41)  # fmt: skip
    if enrolled > -400:
        add("email_log", key=f"{key}-confirmation", student=student, visitor="", kind="enrollment confirmation",
            address=f"student{student[1:]}@example.org", outcome="bounced" if bounced else "sent", sent_at=enrolled + 0.41)  # fmt: skip
    if first <= 0:
        make_learning(key, code, cohort, first, last, min(last, 0 if left is None else left, 0))
    if status in ("ended", "withdrawn"):
        make_result(key, cohort, last, left if withdrawn else None)


def make_learning(key: str, code: str, cohort: str, first: int, last: int, until: int) -> None:
    """Progress and work up to a day, at a pace of one's own."""
    running = last >= 0
    if first > -120:
        for back in random_.sample(range(1, 56), 6):
            if first < -back < until:
                add("usage_events", key=f"{key}-{back}", enrollment=key, cohort=cohort, kind="page viewed",
                    item=f"lesson {random_.randint(1, 30)}", clicks=random_.randint(1, 40), at=-back + 0.5)  # fmt: skip
    pace, day = random_.uniform(*PACES.get(cohort, (10, 20))), float(first)
    for position in range(1, PROGRAMS[code][1] + 1):
        started, day = day, day + pace * random_.uniform(0.6, 1.4)
        if started >= until:
            return
        module, reached = f"{code}-{position}", day < until - 1
        failed = reached and random_.random() < 0.1
        score = "" if not reached else random_.randint(20, 39) if failed else random_.randint(45, 100)
        add("module_progress", key=f"{key}-{position}", enrollment=key, cohort=cohort, module=module,
            status="failed" if failed else "done" if reached else "in progress", score=score, started_at=round(started, 2),
            done_at=round(day, 2) if reached and not failed else "", active_at=round(min(day, until - 0.3), 2))  # fmt: skip
        if position % 2 == 0 and reached:
            make_submissions(f"{key}-{position}", key, cohort, module, round(day, 2), score, running=running)


def make_submissions(
    key: str, enrollment: str, cohort: str, module: str, day: float, score: int, *, running: bool
) -> None:
    """A piece of work: waiting when it is fresh, reviewed otherwise; half of those who fail try again."""
    row = {
        "enrollment": enrollment,
        "cohort": cohort,
        "module": module,
        "url": f"https://submissions.example.org/{key}",
    }
    if running and day > -9:
        add("submissions", key=key, attempt=1, submitted_at=day, status="waiting for review", score="", **row)
        return
    add(
        "submissions",
        key=key,
        attempt=1,
        submitted_at=day,
        status="passed" if score >= 40 else "failed",
        score=score,
        **row,
    )
    make_review(key, key, enrollment, cohort, day, passed=score >= 40)
    if score < 40 and day < -20 and random_.random() < 0.5:
        again = random_.choice((25, 35, 55, 70))
        add(
            "submissions",
            key=f"{key}-2",
            attempt=2,
            submitted_at=day + 7,
            status="passed" if again >= 40 else "failed",
            score=again,
            **row,
        )
        make_review(f"{key}-2", f"{key}-2", enrollment, cohort, day + 7, passed=again >= 40)


def make_review(key: str, submission: str, enrollment: str, cohort: str, day: float, *, passed: bool) -> None:
    """What a mentor wrote about it."""
    comment = "Runs and is well tested." if passed else "Please handle the empty input, then hand it in again."
    add("code_reviews", key=key, submission=submission, enrollment=enrollment, cohort=cohort, reviewed_at=round(min(day + 1.5, -0.1), 2),
        passed="true" if passed else "false", comment=comment)  # fmt: skip


def make_result(key: str, cohort: str, last: int, left: int | None) -> None:
    """How it ended; a certificate for those who passed (two are due and not issued)."""
    kind = "withdrawn" if left is not None else random_.choices(("distinction", "pass", "fail"), (2, 7, 3))[0]
    add("results", enrollment=key, cohort=cohort, kind=kind, decided_at=left if left is not None else last)
    if kind in ("pass", "distinction") and random_.random() > 0.02:
        add("certificates", key=key, enrollment=key, cohort=cohort, number=f"RC-{key}", honors="true" if kind == "distinction" else "false",
            issued_at=last + 3, url=f"https://certificates.example.org/{key}")  # fmt: skip


def open_accounts_in_time() -> None:
    """Nobody enrolls before they have an account."""
    first: dict[str, float] = {}
    for row in tables["enrollments"]:
        first[row["student"]] = min(first.get(row["student"], 0), row["enrolled_at"])
    for row in tables["students"]:
        row["registered_at"] = round(min(row["registered_at"], first.get(row["key"], 0) - 1), 2)


def make_visitors(many: int) -> None:
    """People who left their details, some with hostile names, some who became students, some who wait."""
    names = [*HOSTILE[:12], *(random_.choice(fakers).name() for _ in range(many - 12))]
    for number, name in enumerate(names, start=1):
        day = -random_.randint(0, 700) if number > 40 else -random_.randint(0, 30)
        answered = day < -9 or number % 2 == 0
        email = f"student{number:03}@example.org" if number % 12 == 0 else f"visitor{number:03}@example.com"
        add("visitors", key=f"v{number:03}", name=name, email=email, phone="", program=random_.choice([*PROGRAMS, ""]),
            experience_level=random_.choice(LEVELS), message="When does the next cohort start?", status=("answered", "in contact", "lost")[number % 3] if answered else "new",
            asked_at=day + 0.2, answered_at=min(day + 1.2, 0) if answered else "", next_contact_on="")  # fmt: skip
        add("visitor_devices", visitor=f"v{number:03}", user_agent="Mozilla/5.0", address=f"192.0.2.{number % 250 + 1}")


def make_money(students: list[str]) -> None:
    """Subscriptions (some lapsed) and payments."""
    for number, key in enumerate(students, start=1):
        if number % 2:
            lapsed = number % 14 == 1
            add(
                "subscriptions",
                key=key,
                student=key,
                starts_on=-300,
                ends_on=-40 if lapsed else 65 if number % 4 == 1 else "",
            )
            add(
                "payments",
                key=key,
                student=key,
                tombstone_id="",
                paid_at=-300 + 0.5,
                amount_cents=4900,
                currency="EUR",
                gateway_ref=f"pay-{key}",
            )


def make_mail(students: list[str]) -> None:
    """Notices on both sides of 90 days."""
    for number, key in enumerate(students[:120], start=1):
        add("email_log", key=f"{key}-notice", student=key, visitor="", kind="policy notice", address=f"student{key[1:]}@example.org",
            outcome="sent", sent_at=-70 - number % 40 + 0.3)  # fmt: skip


# kind, whom, day of receipt, state, and what else is known; the closings of s076 and s077 stand in make_students
REQUESTS: tuple[tuple[str, str, float, str, dict[str, Any]], ...] = (
    ("access", "s070", -40, "received", {}),
    ("delete", "s071", -26, "verified", {"verified": -20}),
    ("export", "s072", -5, "received", {}),
    ("correct", "s073", -120, "answered", {"verified": -118, "closed": -110, "outcome": "done by hand"}),
    ("opt_out", "s074", -80, "answered", {"closed": -78, "outcome": "done by hand"}),
    ("delete", "s075", -200, "reactivated", {"verified": -199, "account": -198, "closed": -180,
                                             "outcome": "the student changed their mind"}),
    ("restrict", "s078", -6, "checking", {"asked": -3, "channel": "letter"}),
    ("object", "v002", -2, "received", {"channel": "form"}),
    ("delete", "s076", -8, "to approve", {"verified": -5, "account": -3}),
    ("delete", "s077", -14, "waiting", {"verified": -12, "account": -10, "approved": -9}),
    ("access", "", -1, "received", {"contact": "Somebody New\nsomebody.new@example.net", "channel": "letter"}),
    ("access", "s079", -60, "refused", {"asked": -58, "closed": -45, "outcome": "identity not confirmed"}),
    ("delete", "v003", -12, "received", {"requester": "agent"}),
    ("export", "s080", -35, "verified", {"verified": -33, "extended": -20}),
    ("correct", "s081", -50, "withdrawn", {"closed": -49, "outcome": "by the person"}),
    ("delete", "s003", -20, "received", {"channel": "phone", "requester": "parent"}),
    ("access", "s082", -29, "verified", {"verified": -27}),
)  # fmt: skip
WORDS = {
    "delete": "Please delete my account and everything that you have about me.",
    "access": "Which data of mine do you hold, and who else has it?",
    "export": "I would like my data as a file.",
    "correct": "My name is spelled wrong on the certificate.",
    "restrict": "Please use my data for nothing until we have settled this.",
    "object": "I object to being called about courses.",
}


def make_requests() -> None:
    """A full desk: every state but those of the erasure, one overdue, some due soon, one nobody knows, one on the phone."""
    for number, (kind, whom, received, state, more) in enumerate(REQUESTS, start=1):
        key, moved = f"r{number}", received + 0.5
        student, visitor = whom if whom[:1] == "s" else "", whom if whom[:1] == "v" else ""
        asked, verified, account = more.get("asked", ""), more.get("verified", ""), more.get("account", "")
        closed, answered = more.get("closed", ""), more.get("closed", account)
        add("requests", key=key, kind=kind, student=student, visitor=visitor, channel=more.get("channel", "e-mail"),
            requester=more.get("requester", "subject"), state=state,
            version=1 + sum(step in more for step in ("asked", "verified", "extended", "account", "approved", "closed")), received_at=received + 0.4, filed_at=moved,
            answered_at=answered if answered == "" else answered + 0.4, closed_at=closed if closed == "" else closed + 0.4,
            identity="confirmed" if verified else "asked" if asked else "not checked",
            identity_method="answered from the known address" if verified else "", identity_at=verified,
            paused_at=asked if state == "checking" else "", extended_months=2 if more.get("extended") else 0,
            account_closed_at=account if account == "" else account + 0.4, grace_ends_at=account if account == "" else account + 30.4,
            outcome=more.get("outcome", ""))  # fmt: skip
        make_history(key, student, visitor, moved, kind, more, state)


def make_history(
    key: str, student: str, visitor: str, moved: float, kind: str, more: dict[str, Any], state: str
) -> None:
    """The clock's events, the moves and the words of one request."""
    add(
        "request_clocks",
        key=f"{key}-1",
        request=key,
        version=1,
        what="start",
        at=moved - 0.1,
        reason="received",
        months="",
    )
    add("request_moves", key=f"{key}-1", request=key, version=1, from_state="", to_state="received", moved_at=moved)
    version, before = 1, "received"
    steps = (("asked", "checking", "pause"), ("verified", "verified", ""), ("extended", "", "extend"),
             ("account", "to approve", "stop"), ("approved", "waiting", ""), ("closed", state, "stop"))  # fmt: skip
    for name, to, tick in steps:
        if name not in more:
            continue
        version, at = version + 1, more[name] + (0.4 if name in ("account", "closed") else 0)
        if to:
            add(
                "request_moves",
                key=f"{key}-{version}",
                request=key,
                version=version,
                from_state=before,
                to_state=to,
                moved_at=at,
            )
            before = to
        if tick and not (name == "closed" and "account" in more):
            add("request_clocks", key=f"{key}-{version}", request=key, version=version, what=tick, at=at,
                reason="complex" if tick == "extend" else "", months=2 if tick == "extend" else "")  # fmt: skip
    what = {"words": WORDS.get(kind, ""), "contact": more.get("contact", "")}
    for name, body in what.items():
        if body:
            add("request_texts", key=f"{key}-{name}", request=key, student=student, visitor=visitor, what=name, body=body,
                written_at=moved)  # fmt: skip


def make_cases() -> None:
    """What later work needs to be there for certain, told by names that say what it is. Everything before stays as it is."""
    global random_
    random_ = random.Random(20261125)
    make_cohort("LAB", "Open Lab", 1, -20, 100, 20)
    make_cohort("WEB", "Web Basics", 8, -47, 126, 300)
    many = [newcomer(f"{fakers[number % len(fakers)].name()}") for number in range(286)]
    for place, student in enumerate([*many, *(f"s{number:03}" for number in range(90, 102))]):
        code, number, first, length = ("LAB", 1, -20, 100) if place < 6 else ("WEB", 8, -47, 126)
        make_enrollment(student, code, f"{code}-{number}", first, first + length)
    settle_running_cohorts()
    make_learners()
    make_ages()
    make_leads()


def settle_running_cohorts() -> None:
    """Most students of running cohorts are well: reviews are written within days, and people are about on the platform.

    Of a hundred, some five went quiet, three do little, two lag behind, and a few wait for a review too long.
    """
    running = {row["key"] for row in tables["cohorts"] if row["starts_on"] <= 0 <= row["ends_on"]}
    scores = {row["key"]: row for row in tables["module_progress"]}
    review_what_waits(running, scores)
    tables["usage_events"] = [row for row in tables["usage_events"] if row["cohort"] not in running or row["at"] < -14]
    for row in tables["enrollments"]:
        if row["cohort"] in running and row["status"] == "active":
            mood = random_.choices(("busy", "quiet", "idle", "behind"), (90, 5, 3, 2))[0]
            if mood == "quiet" and not go_quiet(row["key"]):
                mood = "busy"
            if mood == "behind":
                lag_behind(row["key"])
            if mood != "quiet":
                be_about(
                    row["key"], row["cohort"], days=random_.randint(0, 1) if mood == "idle" else random_.randint(3, 4)
                )


def review_what_waits(running: set[str], scores: dict[str, dict[str, Any]]) -> None:
    """Write the review of nearly all work that has waited for two days."""
    for row in tables["submissions"]:
        waits = row["status"] == "waiting for review" and row["cohort"] in running
        if not waits or row["submitted_at"] > -2 or random_.random() < 0.08:
            continue
        score = scores[row["key"]]["score"]
        row |= {"status": "passed" if score >= 40 else "failed", "score": score}
        make_review(row["key"], row["key"], row["enrollment"], row["cohort"], row["submitted_at"], passed=score >= 40)


def go_quiet(key: str) -> bool:
    """Nothing happens for weeks in the module that was begun before; False when there is none."""
    begun = [row for row in tables["module_progress"] if row["enrollment"] == key and row["started_at"] < -16]
    if not begun:
        return False
    last = begun[-1]
    begin_again(key, begun[:-1], last, max(last["started_at"], -random_.randint(16, 30) + 0.5))
    tables["usage_events"] = [row for row in tables["usage_events"] if row["enrollment"] != key or row["at"] < -30]
    return True


def lag_behind(key: str) -> None:
    """Only the first module is begun, and something was done there a few days ago."""
    first = next((row for row in tables["module_progress"] if row["key"] == f"{key}-1"), None)
    if first:
        begin_again(key, [], first, -random_.randint(1, 6) + 0.3)


def begin_again(key: str, before: list[dict[str, Any]], row: dict[str, Any], active_at: float) -> None:
    """Somebody is in the middle of this module, and has done those before it; what came later never was."""
    row |= {"status": "in progress", "score": "", "done_at": "", "active_at": active_at}
    kept = {each["module"] for each in before}
    tables["module_progress"] = [
        r for r in tables["module_progress"] if r["enrollment"] != key or r is row or r["module"] in kept
    ]
    works = {r["key"] for r in tables["submissions"] if r["enrollment"] == key and r["module"] not in kept}
    tables["submissions"] = [r for r in tables["submissions"] if r["key"] not in works]
    tables["code_reviews"] = [r for r in tables["code_reviews"] if r["submission"] not in works]


def be_about(key: str, cohort: str, *, days: int) -> None:
    """Pages viewed on some of the last days."""
    for back in sorted(random_.sample(range(1, 14), days)):
        add("usage_events", key=f"{key}-{back}", enrollment=key, cohort=cohort, kind="page viewed",
            item=f"lesson {random_.randint(1, 30)}", clicks=random_.randint(12, 40), at=-back + 0.5)  # fmt: skip


def make_cohort(program: str, title: str, number: int, first: int, length: int, seats: int) -> None:
    """A cohort; its program too, when it is new (without a single module then)."""
    if program not in PROGRAMS:
        PROGRAMS[program] = (title, 0)
        add("programs", key=program, code=program, title=title)
    code = f"{program}-{number}"
    add(
        "cohorts",
        key=code,
        program=program,
        code=code,
        title=f"{PROGRAMS[program][0]} {number}",
        starts_on=first,
        ends_on=first + length,
        seats=seats,
    )


def newcomer(name: str, *, registered: int = -120, **consent: Any) -> str:
    """One more student; an adult unless the consent says otherwise."""
    key = f"s{len(tables['students']) + 1:03}"
    add("students", key=key, name=name, email=f"student{key[1:]}@example.org", experience_level=LEVELS[len(name) % len(LEVELS)],
        account_status="open", registered_at=registered, closed_at="")  # fmt: skip
    adult = {
        "birth_date": "",
        "adult": "true",
        "declared_at": registered,
        "guardian": "",
        "state": "not needed",
        "verified_at": "",
        "asked_at": "",
        "answer_by": "",
        "requested_at": "",
        "method": "",
        "entered_at": "",
        "changed_at": "",
    }
    add("consents", student=key, **{**adult, **consent})
    return key


def enrolled(student: str, code: str, number: int, first: int, status: str = "active") -> dict[str, Any]:
    """A place in a cohort, without anything that follows from it; what rows of learning refer to."""
    cohort, key = f"{code}-{number}", f"{code}-{number}-{student}"
    add("enrollments", key=key, student=student, cohort=cohort, program=code, status=status, enrolled_at=first - 12.6, started_at=first,
        withdrawn_at="", confirmed_at=first - 12.59)  # fmt: skip
    return {"enrollment": key, "cohort": cohort}


def progressed(of: dict[str, Any], position: int, status: str, begun: float, done: float, score: Any = "") -> None:
    """One module of theirs."""
    code = of["cohort"].split("-")[0]
    add("module_progress", key=f"{of['enrollment']}-{position}", **of, module=f"{code}-{position}", status=status, score=score, started_at=begun,
        done_at=done if status == "done" else "", active_at=done)  # fmt: skip


def handed_in(of: dict[str, Any], position: int, attempt: int, day: float, score: Any = "") -> None:
    """One piece of work; without a score it waits for its review."""
    code, key = of["cohort"].split("-")[0], f"{of['enrollment']}-{position}-{attempt}"
    status = "waiting for review" if score == "" else "passed" if score >= 40 else "failed"
    add("submissions", key=key, attempt=attempt, submitted_at=day, status=status, score=score, **of, module=f"{code}-{position}",
        url=f"https://submissions.example.org/{key}")  # fmt: skip
    if score != "":
        make_review(key, key, of["enrollment"], of["cohort"], day, passed=score >= 40)


def make_learners() -> None:
    """Who needs help, and why."""
    of = enrolled(newcomer("Hilda Hundred"), "PY", 13, -96)
    for number in range(100):
        position, attempt = number // 20 + 1, number % 20 + 1
        handed_in(
            of,
            position,
            attempt,
            round(-95 + number * 0.93, 2),
            "" if number == 99 else 70 if attempt == 20 else 20 + attempt,
        )
        if attempt == 20:
            progressed(of, position, "in progress" if number == 99 else "done", round(-95 + (number - 19) * 0.93, 2), round(-95 + number * 0.93, 2),
                       "" if number == 99 else 70)  # fmt: skip
    of = enrolled(newcomer("Fiona Failed-Twice"), "PY", 13, -96)
    progressed(of, 1, "done", -95, -80, 66)
    progressed(of, 2, "failed", -80, -20, 31)
    handed_in(of, 2, 1, -40, 28)
    handed_in(of, 2, 2, -20, 31)
    of = enrolled(newcomer("Walter Waiting"), "JAVA", 8, -33)
    progressed(of, 1, "done", -32, -24, 71)
    progressed(of, 2, "in progress", -24, -12)
    handed_in(of, 2, 1, -12)
    of = enrolled(newcomer("Sid Silent"), "PY", 13, -96)
    progressed(of, 1, "done", -95, -70, 80)
    progressed(of, 2, "in progress", -70, -41)
    tara = newcomer("Tara Two-Cohorts")
    for code, number, first in (("PY", 13, -96), ("DATA", 4, -75)):
        progressed(enrolled(tara, code, number, first), 1, "done", first + 1, first + 15, 90)
    of = enrolled(newcomer("Paul Passed-Uncertified", registered=-500), "PY", 12, -461, "ended")
    add("results", **of, kind="pass", decided_at=-311)


def make_ages() -> None:
    """Ages on both sides of 16 and 18, with and without consent."""
    minor = {"adult": "", "declared_at": -60}
    newcomer(
        "Ulla Under-Sixteen",
        registered=-9,
        **(minor | {"birth_date": -365 * 15 - 40, "state": "missing", "declared_at": -9}),
    )
    enrolled(newcomer("Ned No-Consent", **minor, birth_date=-365 * 17 - 90, state="missing"), "JAVA", 8, -33)
    for name, birth_date in (("Mina Minor", -365 * 16 - 200), ("Nils Now-Eighteen", -365 * 18 - 15)):
        key = f"s{len(tables['students']) + 1:03}"
        enrolled(
            newcomer(name, **minor, birth_date=birth_date, guardian=key, **consent_so_far("verified")),
            "JAVA",
            8,
            -33,
        )
        add("guardians", key=key, student=key, name=f"Parent of {name}", email=f"parent{key[1:]}@example.com")
    newcomer("Una Undeclared", birth_date="", adult="", declared_at="")
    newcomer("Ulf Unanswered", birth_date="", adult="", declared_at="", asked_at=-40, answer_by=-10)
    newcomer("Asta Asked", birth_date="", adult="", declared_at="", asked_at=-3, answer_by=25)
    for name, birth_date, state in (("Sina Silent-Guardian", -365 * 16 - 90, "requested"), ("Greta Given", -365 * 17 - 10, "given"),
                                    ("Rolf Refused", -365 * 16 - 300, "refused"), ("Lena Lapsing", -365 * 18 + 12, "verified"),
                                    ("Lars Lapsed", -365 * 18 - 50, "lapsed")):  # fmt: skip
        key = f"s{len(tables['students']) + 1:03}"
        guardian = "" if state == "lapsed" else key
        newcomer(name, **minor, birth_date=birth_date, guardian=guardian, **consent_so_far(state))
        if guardian:
            add("guardians", key=key, student=key, name=f"Parent of {name}", email=f"parent{key[1:]}@example.com")


def make_leads() -> None:
    """Visitors who became students, in four spellings; duplicates of students and of each other; contacts due and overdue."""
    tara = next(row["email"] for row in tables["students"] if row["name"] == "Tara Two-Cohorts")
    for email, name in ((tara, "Tara Two-Cohorts"), ("Student120@Example.ORG", "Converted Upper"), ("ｓtudent121@example.org", "Converted Wide"),
                        ("STUDENT122@EXAMPLE.ORG", "Converted Shouting")):  # fmt: skip
        lead(name, email, -650, "answered", answered=-649)
    lead("Tara Two-Cohorts", tara, -4, "new")
    lead("Sid Silent", "sid.elsewhere@example.com", -6, "new")
    for day in (-8, -5):
        lead("Twice Asked", "twice.asked@example.com", day, "new")
    for name, day in (
        ("Contact Overdue", -3),
        ("Contact Long-Overdue", -20),
        ("Contact Today", 0),
        ("Contact Next-Week", 7),
    ):
        lead(
            name, f"{name.lower().replace(' ', '.')}@example.com", -25, "in contact", answered=-24, next_contact_on=day
        )


def lead(name: str, email: str, day: int, status: str, *, answered: Any = "", next_contact_on: Any = "") -> None:
    """One more visitor."""
    key = f"v{len(tables['visitors']) + 1:03}"
    add("visitors", key=key, name=name, email=email, phone="", program="PY", experience_level="beginner", message="Please call me back.", status=status,
        asked_at=day + 0.3, answered_at=answered, next_contact_on=next_contact_on)  # fmt: skip
    add(
        "visitor_devices",
        visitor=key,
        user_agent="Mozilla/5.0",
        address=f"198.51.100.{len(tables['visitors']) % 250 + 1}",
    )


def write() -> None:
    """Write one file a table, sorted as made."""
    for name, rows in tables.items():
        with (HERE / f"{name}.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def main() -> None:
    """Make everything, in an order that never changes."""
    make_catalog()
    students = make_students(400)
    make_enrollments(students)
    open_accounts_in_time()
    make_visitors(150)
    make_money(students)
    make_mail(students)
    make_requests()
    make_cases()
    open_accounts_in_time()
    write()


if __name__ == "__main__":
    main()
