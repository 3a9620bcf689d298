"""Anonymized releases ("frozen" differential privacy; the method in plain words stands in docs/analytics.md).

Danger: a figure kept beside a live database gives back everybody who was deleted since: the old figure less a recount of
those who are left. Hiding small groups or rounding does not help. Principle: a closed period is published once, with random
noise in every figure, and never again; every page reads these figures only; how often one account can be counted in its
whole life is bounded, and the noise is chosen so that all releases together tell almost nothing about it. Mechanism:

periods.py      quarters and years, and the day on which each closes
workload.py     what is counted, how often one account at most, with which noise; what all of it costs
method.py       the public configuration file: budget, bounds, domain; versions that never change
people.py       who is left out
counting.py     the exact counts, bounded per account; they exist in this process's memory only
noise.py        the discrete Gaussian of OpenDP
consistency.py  weighted least squares: parts add up to their wholes
builder.py      one release: count, noise, make consistent, write with its line in the ledger, in one transaction
content.py      what a release's hash covers, and the check of all of them
reader.py       every question is a look-up or a sum of released figures
"""
