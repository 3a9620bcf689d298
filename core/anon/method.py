"""The method as data: the public configuration file, and the versions of it that were adopted.

Danger: a domain taken from the data tells what is in the data (a cohort that vanishes from a list was one person's), and a
domain that changes quietly counts twice. Principle: what is counted stands in a file that people write and anybody may
read; the adopted row is the truth, and the same version never means two things. The catalog gives the day on which a
cohort ends; no row about a person is looked at.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.anon.periods import quarter_of, quarters_before
from core.anon.workload import FLOWS, Family, Flow, check_budget, families
from core.errors import AdminError
from core.models.anon import Method as MethodRow
from core.models.platform import EXPERIENCE_LEVELS, Cohort, Program
from core.settings import ROOT, settings

SHIPPED = ROOT / "data" / "analytics" / "2026-11.yaml"
KEYS = {"version", "mu", "capacity", "history_quarters", "families", "experience", "programs"}


class MethodRefused(AdminError):
    """The configuration of anonymized analytics cannot be used as it is; nothing was published."""


class NotConfigured(MethodRefused):
    """The catalog does not have what the configuration names: this site has not written its own yet."""


@dataclass(frozen=True)
class Configuration:
    """The file as it was read. ``programs`` is by code: the title and the codes of the cohorts."""

    version: str
    mu: float
    capacity: int
    history_quarters: int
    bounds: Mapping[str, tuple[float, int]]
    experience: tuple[str, ...]
    programs: Mapping[str, tuple[str, tuple[str, ...]]]
    content_sha256: str


@dataclass(frozen=True)
class CohortEnd:
    """A cohort of the domain and the quarter in which it ends: its figures are told in that quarter's release, once."""

    code: str
    title: str
    program: str
    quarter: str


@dataclass(frozen=True)
class Domain:
    """What cells there are: programs (code → title), their cohorts, levels of experience."""

    programs: Mapping[str, str]
    cohorts: tuple[CohortEnd, ...]
    experience: tuple[str, ...]

    def cohorts_of(self, quarter: str) -> tuple[str, ...]:
        """The codes of the cohorts that end in a quarter."""
        return tuple(cohort.code for cohort in self.cohorts if cohort.quarter == quarter)


@dataclass(frozen=True)
class Method:
    """An adopted version."""

    version: str
    mu: float
    capacity: int
    families: tuple[Family, ...]
    domain: Domain
    first_day: date
    adopted: date
    content_sha256: str

    def family(self, name: str) -> Family:
        """The family of a name."""
        return next(family for family in self.families if family.name == name)


def configuration_file() -> Path:
    """Return the file that holds for this home: its own ``analytics.yaml``, or the one for the synthetic seed."""
    own = settings().home / "analytics.yaml"
    return own if own.exists() else SHIPPED


def read_configuration(file: Path) -> Configuration:
    """Read a configuration file. Raises MethodRefused for anything that is missing, unknown or contradictory."""
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MethodRefused(f"{file.name} cannot be read as YAML.") from error
    if not isinstance(given, dict) or set(given) != KEYS:
        raise MethodRefused(f"{file.name} must have exactly these keys: {', '.join(sorted(KEYS))}.")
    try:
        return _configuration(given)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MethodRefused(f"{file.name} does not say what it should; compare it with {SHIPPED.name}.") from error


def _configuration(given: dict[str, Any]) -> Configuration:
    if set(given["families"]) != set(FLOWS):
        raise MethodRefused(f"The families are {', '.join(FLOWS)}, each with sigma and at_most.")
    if not set(given["experience"]) <= set(EXPERIENCE_LEVELS):
        raise MethodRefused(f"Levels of experience are {', '.join(EXPERIENCE_LEVELS)}.")
    programs = {
        str(code): (str(each["title"]), tuple(map(str, each["cohorts"]))) for code, each in given["programs"].items()
    }
    cohorts = [code for _, codes in programs.values() for code in codes]
    if not programs or len(set(cohorts)) < len(cohorts) or len(set(given["experience"])) < len(given["experience"]):
        raise MethodRefused("Name at least one program, and nothing twice.")
    if not 0 <= int(given["history_quarters"]) <= 40:
        raise MethodRefused("history_quarters must be 0 to 40.")
    return Configuration(
        version=str(given["version"]),
        mu=float(given["mu"]),
        capacity=int(given["capacity"]),
        history_quarters=int(given["history_quarters"]),
        bounds={name: (float(each["sigma"]), int(each["at_most"])) for name, each in given["families"].items()},
        experience=tuple(given["experience"]),
        programs=programs,
        content_sha256=hashlib.sha256(canonical(given).encode()).hexdigest(),
    )


def canonical(document: object) -> str:
    """Return a document as text that is the same for the same content."""
    return json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def planned(session: Session, file: Configuration, *, today: date) -> Method:
    """Return the method that a configuration means today: the adopted one, or what it would be. Writes nothing.

    Raises MethodRefused when the file changed under the same version or names what the catalog does not have, OverBudget when
    all versions together could tell too much.
    """
    known = adopted(session)
    mine = next((method for method in known if method.version == file.version), None)
    if mine is None:
        first_day = known[0].first_day if known else quarters_before(quarter_of(today), file.history_quarters).first_day
        mine = Method(
            version=file.version,
            mu=file.mu,
            capacity=file.capacity,
            families=families(file.bounds, capacity=file.capacity),
            domain=_domain(session, file),
            first_day=first_day,
            adopted=today,
            content_sha256=file.content_sha256,
        )
    elif mine.content_sha256 != file.content_sha256:
        raise MethodRefused(
            f"The configuration of analytics changed, but calls itself version {file.version} still. Give it a new version."
        )
    check_budget([each.families for each in [*known, mine]], mu=min(each.mu for each in [*known, mine]))
    return mine


def adopt(session: Session, method: Method) -> None:
    """Write a version unless it is there."""
    if session.get(MethodRow, method.version) is None:
        session.add(_row(method))
        session.flush()


def adopted(session: Session) -> list[Method]:
    """Return every adopted version, oldest first."""
    rows = session.scalars(select(MethodRow).order_by(MethodRow.adopted, MethodRow.version))
    return [_method(row) for row in rows]


def draft(session: Session) -> str:
    """Return a configuration file for the catalog as it is, for a person to check. Looks at no row about a person."""
    programs: dict[str, dict[str, Any]] = {code: {"title": title, "cohorts": []} for code, title in session.execute(
        select(Program.code, Program.title).order_by(Program.code)
    )}  # fmt: skip
    places = 0
    listed = select(Program.code, Cohort.code, Cohort.seats).join(Program, Program.id == Cohort.program_id)
    for program, code, seats in session.execute(listed.order_by(Cohort.starts_on, Cohort.code)):
        programs[program]["cohorts"].append(code)
        places += seats or 0
    head = SHIPPED.read_text(encoding="utf-8").split("capacity:")[0]
    rest = SHIPPED.read_text(encoding="utf-8").split("cohorts below;", 1)[1].split("programs:")[0]
    return f"{head}capacity: {places:<8}       # places offered in the cohorts below;{rest}" + yaml.safe_dump(
        {"programs": programs}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
    )


def _domain(session: Session, file: Configuration) -> Domain:
    """The domain with the quarter in which each cohort ends, as the catalog announces it."""
    announced = {
        code: (program, title, ends_on)
        for code, title, ends_on, program in session.execute(
            select(Cohort.code, Cohort.title, Cohort.ends_on, Program.code).join(
                Program, Program.id == Cohort.program_id
            )
        )
    }
    programs = set(session.scalars(select(Program.code)))
    wanted = [(code, program) for program, (_, codes) in file.programs.items() for code in codes]
    unknown = sorted(set(file.programs) - programs)
    unknown += [code for code, program in wanted if announced.get(code, ("",))[0] != program]
    if unknown:
        raise NotConfigured(
            f"The catalog does not have {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}. "
            "Write this site's own analytics.yaml: `python -m core analytics domain` prints a draft."
        )
    cohorts = tuple(
        CohortEnd(code, announced[code][1], program, quarter_of(announced[code][2]).name) for code, program in wanted
    )
    return Domain({code: title for code, (title, _) in file.programs.items()}, cohorts, file.experience)


def _row(method: Method) -> MethodRow:
    workload = {
        family.name: {
            "sigma": family.sigma,
            "at_most": family.at_most,
            "flows": {
                flow.name: {"grain": flow.grain, "marginals": list(flow.marginals), "at_once": flow.at_once}
                for flow in family.flows
            },
        }
        for family in method.families
    }
    domain = {
        "programs": [[code, title] for code, title in method.domain.programs.items()],
        "cohorts": [[cohort.code, cohort.title, cohort.program, cohort.quarter] for cohort in method.domain.cohorts],
        "experience": list(method.domain.experience),
    }
    return MethodRow(
        version=method.version, mu=method.mu, capacity=method.capacity, workload=workload, domain=domain,
        first_day=method.first_day, adopted=method.adopted, content_sha256=method.content_sha256,
    )  # fmt: skip


def _method(row: MethodRow) -> Method:
    known = tuple(
        Family(
            name,
            each["sigma"],
            each["at_most"],
            tuple(
                Flow(flow, told["grain"], tuple(told["marginals"]), told["at_once"])
                for flow, told in each["flows"].items()
            ),
        )
        for name, each in sorted(row.workload.items(), key=lambda told: list(FLOWS).index(told[0]))
    )
    domain = Domain(
        dict(row.domain["programs"]),
        tuple(CohortEnd(*each) for each in row.domain["cohorts"]),
        tuple(row.domain["experience"]),
    )
    return Method(
        version=row.version,
        mu=row.mu,
        capacity=row.capacity,
        families=known,
        domain=domain,
        first_day=row.first_day,
        adopted=row.adopted,
        content_sha256=row.content_sha256,
    )
