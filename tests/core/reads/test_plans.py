"""No read of a page grows with the number of students: what the planner would do where there are many, for every read of the benchmark.

Estimates come from statistics, and these from a database of a few thousand rows; what is said here to the planner is that a sequential
scan costs a lot. A read that has no index to follow scans all the same, and is found by that.
"""

import re
from collections.abc import Collection, Iterator

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from bench.reads import JOBS, Job, World
from core import db
from core.queries import Cursor
from core.rollups import refresh_rollups
from tests.cast import NOW, id_of
from tests.core.reads.test_enrollments import a_crowd

pytestmark = pytest.mark.usefixtures("house")
MANY = 1_000
NODE = re.compile(
    r"^( *)(?:->  )?([A-Z][A-Za-z ]*?)(?: using \w+)?(?: on (?:platform\.|privacy\.)?(\w+))?(?: \w+)?  \(cost="
)
WHOLE = ("Sort", "Aggregate", "HashAggregate", "GroupAggregate", "Hash", "Materialize", "WindowAgg", "CTE")


def scans(plan: str, growing: Collection[str], few: Collection[str] = ()) -> set[str]:
    """The ``growing`` tables that a plan reads whole: by a sequential scan, or along an index without a condition and with nothing that
    stops it. An index of ``few`` rows (a partial one) may be read whole."""
    found: set[str] = set()
    above: list[tuple[int, str]] = []
    lines = plan.splitlines()
    for place, line in enumerate(lines):
        node = NODE.match(line)
        if node is None:
            continue
        depth, name, table = len(node.group(1)), node.group(2), re.sub(r"_\d{4}_\d\d$", "", node.group(3) or "")
        above = [each for each in above if each[0] < depth]
        if table in growing and "Scan" in name and not any(f" using {index} " in line for index in few):
            stops = next((each for _, each in reversed(above) if each.startswith(("Limit", *WHOLE))), "")
            conditions = "Index Cond" in "".join(_details(lines[place + 1 :]))
            if name.startswith("Seq Scan") or (
                not conditions and "Bitmap" not in name and not stops.startswith("Limit")
            ):
                found.add(f"{name} on {table}")
        above.append((depth, name))
    return found


def _details(rest: list[str]) -> Iterator[str]:
    """The lines that belong to one node: until the next one."""
    for line in rest:
        if NODE.match(line):
            return
        yield line


@pytest.fixture
def plans(owner: Connection) -> Iterator[list[str]]:
    """Every plan that the server makes for the dashboard from now on, those inside functions too."""
    seen: list[str] = []
    engine = db.engine("app")

    @event.listens_for(engine, "connect", insert=True)
    def explain(connection: object, _record: object) -> None:
        connection.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))  # type: ignore[attr-defined]

    database = owner.execute(text("select current_database()")).scalar_one()
    for setting in ("session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0", "auto_explain.log_nested_statements = on",
                    "auto_explain.log_level = 'notice'", "enable_seqscan = off", "enable_hashjoin = off", "enable_mergejoin = off", "client_min_messages = 'notice'"):  # fmt: skip
        owner.execute(text(f'alter database "{database}" set {setting}'))
    owner.commit()
    engine.dispose()
    yield seen
    event.remove(engine, "connect", explain)
    engine.dispose()


def world(session: Session) -> World:
    """What the benchmark asks about, in the cast."""
    middle = session.execute(text("select enrolled_at::text, id from platform.enrollment order by 1 limit 1")).one()
    return World(
        NOW,
        id_of("paula"),
        id_of("ines"),
        id_of("ada"),
        id_of("omar"),
        Cursor(middle[0], middle[1]),
        id_of("asha"),
        (id_of("python"),),
    )


MANY_VISITORS = """insert into platform.visitor (id, name, email, email_hash, provider_hash, experience_level, status, asked_at, source)
    select gen_random_uuid(), name, n || email, email_hash || cast(n::text as bytea), provider_hash, experience_level, 'answered',
        asked_at - n * interval '1 hour', 'test' from (select * from platform.visitor limit 1) v, generate_series(1, 2000) n"""


def test_no_read_of_a_page_scans_a_table_that_grows(plans: list[str], owner: Connection) -> None:
    with db.transaction("worker") as session:
        a_crowd(session, 3_000)
        session.connection().exec_driver_sql(MANY_VISITORS)
        refresh_rollups(session)
        known = world(session)
    owner.execute(text("analyze"))
    partial = (
        owner.execute(text("select indexrelid::regclass::text from pg_index where indpred is not null")).scalars().all()
    )
    sizes = text(
        "select relname from pg_class where reltuples > :many and relkind in ('r', 'p') and relnamespace::regnamespace::text in ('platform', 'privacy')"
    )
    growing = set(owner.execute(sizes, {"many": MANY}).scalars())
    assert growing >= {"student", "enrollment", "visitor"}
    owner.commit()
    few = {name.split(".")[-1] for name in partial}
    scanned = {}
    # A search leaves the choice to the planner, by how common a text is (find_enrollments); who is nobody works for no page.
    for job in (job for job in JOBS if job.who and "search" not in job.name):
        plans.clear()
        with db.transaction(staff_id=getattr(known, job.who)) as session:
            job.read(session, known)
        assert plans, f"{job.screen}: {job.name} was not explained"
        if found := {each for plan in plans for each in scans(plan, growing, few)}:
            scanned[f"{job.screen}: {job.name}"] = found
    assert scanned == {}


PLANTED = """create function platform.planted() returns bigint language plpgsql stable security definer set search_path = '' as
    $$ begin return (select count(*) from platform.enrollment where started_at is null); end $$"""


def test_a_scan_is_found_also_inside_a_function(plans: list[str], owner: Connection) -> None:
    owner.execute(text(PLANTED))
    owner.commit()
    planted = Job(
        "Planted",
        "scan",
        "program_staff",
        lambda s, _w: s.execute(text("select count(*) from platform.enrollment where started_at is null")).all(),
        "",
    )
    with db.transaction(staff_id=id_of("paula")) as session:
        planted.read(session, None)  # type: ignore[arg-type]
    assert any(scans(plan, {"enrollment", "student"}) for plan in plans)
    plans.clear()
    with db.transaction(staff_id=id_of("paula")) as session:
        session.execute(text("select platform.planted()")).all()
    assert any(scans(plan, {"enrollment", "student"}) for plan in plans)


def test_whom_the_policies_leave_out_is_planned_once_for_each_connection(owner: Connection) -> None:
    """Whoever writes one of these functions anew drops its setting with it, and every page of those who teach takes twice as long."""
    planned = text("select proname from pg_proc where 'plan_cache_mode=force_generic_plan' = any (proconfig)")
    assert set(owner.execute(planned).scalars()) >= {"my_closed", "my_objecting"}
