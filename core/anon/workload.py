"""What is counted, how often one account at most, with which noise, and what that costs.

A *flow* is something that happens to an account a bounded number of times (``at_most`` in its whole life) and is counted
when it does: flows, not stocks, because telling the same stock again each quarter would cost its price each time. One
event of a flow changes one cell in each of its *marginals* (tables of counts) by one, so an account's cost is bounded by

    at_most x marginals / sigma^2    squared mu (Gaussian differential privacy; zCDP: rho is half of it)

and the costs of all flows of all families add up. A cell counts people: the keys of a flow are chosen so that two events of
one person never meet in one cell.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.errors import AdminError
from core.models.anon import MOST_SLOTS

SMALL_SITE = 300


@dataclass(frozen=True)
class Flow:
    """What is counted once it happens, in periods of ``grain``; one event touches one cell of each of ``marginals``.

    ``at_once`` is how many events of one account one release can count, where that is fewer than in its whole life.
    """

    name: str
    grain: str
    marginals: tuple[str, ...]
    at_once: int = MOST_SLOTS


@dataclass(frozen=True)
class Family:
    """Flows that are published together. ``sigma`` is the noise of one cell before parts and wholes are reconciled."""

    name: str
    sigma: float
    at_most: int
    flows: tuple[Flow, ...]

    def of(self, grain: str) -> tuple[Flow, ...]:
        """The flows that a release of this grain tells."""
        return tuple(flow for flow in self.flows if flow.grain == grain)

    def units(self, grain: str) -> int:
        """The most cells of one release that one account can change by one (squared L2 distance)."""
        return sum(min(flow.at_once, self.at_most) * len(flow.marginals) for flow in self.of(grain))

    def cost(self, grain: str) -> float:
        """The most that one account can spend in one release. Squared mu."""
        return self.units(grain) / self.sigma**2


FLOWS: Mapping[str, tuple[Flow, ...]] = {
    # The first enrollment of a learner in a program; the cohort, once, when it has ended; experience by year.
    "enrollments": (
        Flow("program", "quarter", ("program", "month")),
        Flow("cohort", "quarter", ("cohort",)),
        Flow("experience", "year", ("experience",)),
    ),
    # A learner reaches half or all of a program for the first time.
    "milestones": (
        Flow("program", "quarter", ("program",)),
        Flow("cohort", "quarter", ("cohort",)),
        Flow("experience", "year", ("experience",), at_once=2),
    ),
    # A learner is active in a quarter, counted in one program.
    "activity": (Flow("program", "quarter", ("program",), at_once=1),),
}
SMALL_FLOWS: Mapping[str, tuple[Flow, ...]] = {
    "enrollments": (Flow("program", "year", ("program",)),),
    "milestones": (Flow("program", "year", ("program",)),),
    "activity": (Flow("program", "year", ("program",), at_once=1),),
}
MILESTONES = ("50", "100")


class OverBudget(AdminError):
    """The releases could tell more about one account than the budget allows."""


def families(bounds: Mapping[str, tuple[float, int]], *, capacity: int) -> tuple[Family, ...]:
    """Return the families of a site: ``bounds`` gives (sigma, at_most) by family. Raises OverBudget for a bound that is none.

    A site that offers fewer than 300 places gets yearly totals by program and nothing else.
    """
    flows = SMALL_FLOWS if capacity < SMALL_SITE else FLOWS
    for name, (sigma, at_most) in bounds.items():
        if not (sigma > 0 and 1 <= at_most <= MOST_SLOTS):
            raise OverBudget(f"The bounds of {name} are none: noise above 0, and 1 to {MOST_SLOTS} times.", family=name)
    return tuple(Family(name, *bounds[name], flows[name]) for name in FLOWS)


def lifetime_cost(versions: Iterable[Iterable[Family]]) -> float:
    """Return the most that one account can spend in its whole life under all versions of the method. Squared mu."""
    return _cost(
        [(family, flow, family.at_most) for version in versions for family in version for flow in family.flows]
    )


def cost_so_far(releases: Iterable[tuple[Family, str]]) -> float:
    """Return the most that one account can have spent by some releases, (family, grain) each. Squared mu."""
    return _cost([(family, flow, flow.at_once) for family, grain in releases for flow in family.of(grain)])


def _cost(events: Iterable[tuple[Family, Flow, int]]) -> float:
    """What these events cost at most, so many of each. A flow is bounded across versions of the method: an account is not
    counted anew, so its dearest event as often as the most generous version allows covers every mixture."""
    price: dict[tuple[str, str], float] = {}
    bound: dict[tuple[str, str], int] = {}
    often: dict[tuple[str, str], int] = {}
    for family, flow, times in events:
        place = family.name, flow.name
        price[place] = max(price.get(place, 0), len(flow.marginals) / family.sigma**2)
        bound[place] = max(bound.get(place, 0), family.at_most)
        often[place] = often.get(place, 0) + times
    return sum(price[place] * min(often[place], bound[place]) for place in price)


def check_budget(versions: Iterable[Iterable[Family]], *, mu: float) -> float:
    """Return the lifetime cost. Raises OverBudget when it is above ``mu`` squared, or when ``mu`` is above one."""
    cost = lifetime_cost(versions)
    if mu > 1:
        raise OverBudget(f"mu is {mu:g}; more than 1 is never published.", mu=mu)
    if cost > mu**2 + 1e-9:
        raise OverBudget(
            f"One account could spend {cost:.3f} in its life; mu = {mu:g} allows {mu**2:.3f}. Add noise or count less often.",
            cost=cost,
        )
    return cost
