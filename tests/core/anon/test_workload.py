"""What releases cost one account, reckoned and bounded."""

import pytest

from core.anon.workload import OverBudget, check_budget, cost_so_far, families, lifetime_cost

BOUNDS = {"enrollments": (4.0, 2), "milestones": (8.0, 4), "activity": (6.0, 8)}


def test_the_method_costs_what_the_docs_say() -> None:
    told = families(BOUNDS, capacity=1000)
    costs = {family.name: round(lifetime_cost([[family]]), 4) for family in told}
    assert costs == {"enrollments": 0.5, "milestones": 0.1875, "activity": 0.2222}
    assert check_budget([told], mu=1) == pytest.approx(0.9097, abs=1e-4)


def test_the_ledger_grows_to_the_lifetime_bound_and_no_further() -> None:
    told = families(BOUNDS, capacity=1000)
    releases = [(family, grain) for _ in range(10) for grain in ("quarter", "year") for family in told]
    so_far = [cost_so_far(releases[: n + 1]) for n in range(len(releases))]
    assert so_far == sorted(so_far)
    assert so_far[0] == 6 / 16
    assert so_far[-1] == pytest.approx(lifetime_cost([told]))


@pytest.mark.parametrize(
    "changed",
    [{"enrollments": (2.0, 2)}, {"enrollments": (4.0, 3)}, {"activity": (5.0, 8)}, {"milestones": (8.0, 8)}],
)
def test_too_much_is_refused(changed: dict[str, tuple[float, int]]) -> None:
    with pytest.raises(OverBudget):
        check_budget([families({**BOUNDS, **changed}, capacity=1000)], mu=1)


def test_mu_above_one_is_refused_whatever_it_would_allow() -> None:
    with pytest.raises(OverBudget):
        check_budget([families(BOUNDS, capacity=1000)], mu=1.5)


@pytest.mark.parametrize("bound", [(0.0, 2), (-4.0, 2), (4.0, 0), (4.0, 9)])
def test_a_bound_that_is_none_is_refused(bound: tuple[float, int]) -> None:
    with pytest.raises(OverBudget):
        families({**BOUNDS, "enrollments": bound}, capacity=1000)


def test_a_new_version_spends_only_what_is_left() -> None:
    first = families(BOUNDS, capacity=1000)
    louder = families({**BOUNDS, "milestones": (6.0, 4)}, capacity=1000)
    assert lifetime_cost([first, louder]) == pytest.approx(0.5 + 12 / 36 + 8 / 36)
    with pytest.raises(OverBudget):
        check_budget([first, louder], mu=1)


def test_a_small_site_gets_yearly_totals_only() -> None:
    told = families(BOUNDS, capacity=299)
    assert {(flow.name, flow.grain) for family in told for flow in family.flows} == {("program", "year")}
