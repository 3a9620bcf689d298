"""Every attack on our releases fails; every reference of what others do falls to some; every mutant is found.

``RESOCODE_ATTACKS=full`` (``make test-full``) runs the sizes of the method: ten times as many crowds, 20,000 audited releases.
"""

import os

import pytest

from tests.anon import attacks, systems

FULL = os.environ.get("RESOCODE_ATTACKS") == "full"
SCALE, RUNS = (10, 10_000) if FULL else (1, 1_500)


def red(findings: list[attacks.Finding]) -> set[str]:
    """The attacks that got more than they may."""
    return {finding.attack for finding in findings if not finding.passed}


def test_no_attack_gets_anything_out_of_our_releases() -> None:
    findings = attacks.run(systems.frozen(), scale=SCALE)
    assert {finding.attack for finding in findings} == {"A1", "A2b", "A3", "A4", "A6", "A8"}
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize(
    ("system", "falls_to"),
    [
        (systems.exact, {"A1", "A2b", "A3", "A6", "A8"}),
        (systems.hide_below_ten, {"A1", "A2b", "A3", "A6", "A8"}),
        (systems.round_to_five, {"A2b", "A4", "A6", "A8"}),
        (systems.cell_key, {"A2b", "A4", "A6", "A8"}),
    ],
)
def test_what_others_do_fails(system: systems.System, falls_to: set[str]) -> None:
    assert red(attacks.run(system, scale=SCALE)) >= falls_to


def test_the_noise_keeps_what_it_claims() -> None:
    assert [finding for finding in attacks.audit(systems.opendp, runs=RUNS) if not finding.passed] == []


@pytest.mark.parametrize(
    ("mutant", "fault"),
    [
        (systems.mutant(0.5), "with or without a person"),
        (systems.mutant(2), "with or without a person (floor)"),
        (systems.seeded, "with or without a person (floor)"),
    ],
    ids=["half the noise", "twice the noise", "the same noise"],
)
def test_noise_that_is_not_as_claimed_is_found(mutant: systems.Measure, fault: str) -> None:
    """By telling people apart (or not being able to), and by the variance of fresh releases."""
    findings = attacks.audit(mutant, runs=2_000, one_by_one=mutant is systems.seeded)
    assert {finding.what for finding in findings if not finding.passed} == {
        fault,
        "variance of fresh releases against 16",
    }


def test_the_figures_are_of_use() -> None:
    findings = attacks.usefulness(systems.frozen(), releases=10 * SCALE)
    assert [finding for finding in findings if not finding.passed] == []
