"""What changes from one version of the policy to the next, in words, and whether people have to be told.

Which change is significant is data (``data/policy/significance.yaml``), so that nobody decides it in a hurry; what no rule
names is significant.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from core.settings import ROOT

RULES = ROOT / "data" / "policy" / "significance.yaml"
KNOWN = ("version", "effective_at", "parameters", "processors", "promises", "texts", "significant")
# What each parameter means to a reader, and its unit.
WORDS: dict[str, tuple[str, str]] = {
    "minimum_age": ("The youngest age of a user", "years"),
    "consent_age": ("The age below which a parent consents", "years"),
    "grace_days": ("The time in which a closed account can be reactivated", "days"),
    "email_log_days": ("How long the log of mail is kept", "days"),
    "answer_months": ("The time for an answer to a request", "months"),
    "extension_months": ("The longest extension of an answer", "months"),
    "group_minimum": ("The smallest group of a group figure", "people"),
    "group_rounding": ("The steps of rates in group figures", "points"),
    "backup_days": ("The longest life of a backup", "days"),
    "suppression_years": ("How long erased people's old records are kept out", "years"),
    "visitor_months": ("How long visitors' records are kept after the last contact", "months"),
    "lapse_notice_days": ("The notice before an account without a subscription is closed", "days"),
}


@dataclass(frozen=True)
class Change:
    """One change: ``what`` is "parameter", "processor", "promise" or "text"; before and after as they are read."""

    what: str
    name: str
    before: str | None
    after: str | None
    words: str
    significant: bool


def changes(before: Mapping[str, Any], after: Mapping[str, Any], defaults: Mapping[str, int]) -> tuple[Change, ...]:
    """Return every change between two documents; ``defaults`` are the parameters that a version may leave out."""
    return (
        *_parameters(before, after, defaults),
        *_named("processor", _processors(before), _processors(after)),
        *_named("promise", _promises(before), _promises(after)),
        *_named("text", _texts(before), _texts(after)),
    )


def rule_of(what: str, name: str) -> str:
    """Return the rule for a kind of change: "any", "up", "down" or "never"."""
    rules = _rules()
    return str(rules.get(what, {}).get(name, rules["otherwise"]))


@lru_cache(maxsize=1)
def _rules() -> dict[str, Any]:
    return dict(yaml.safe_load(RULES.read_text(encoding="utf-8")))


def _parameters(before: Mapping[str, Any], after: Mapping[str, Any], defaults: Mapping[str, int]) -> Iterator[Change]:
    old, new = {**defaults, **before.get("parameters", {})}, {**defaults, **after.get("parameters", {})}
    for name in sorted(set(old) | set(new), key=list(WORDS).index if set(old) | set(new) <= set(WORDS) else str):
        was, now = old.get(name), new.get(name)
        if was == now or was is None or now is None:
            continue
        words, unit = WORDS.get(name, (name.replace("_", " ").capitalize(), ""))
        rule = rule_of("parameters", name)
        told = rule == "any" or (rule == "up" and now > was) or (rule == "down" and now < was)
        yield Change("parameter", name, f"{was} {unit}".strip(), f"{now} {unit}".strip(),
                     f"{words}: {now} {unit} instead of {was}.", told)  # fmt: skip


def _named(what: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    plural = {"processor": "processors", "promise": "promises", "text": "texts"}[what]
    for name in sorted(set(old) | set(new)):
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        how = "added" if was is None else "dropped" if now is None else "changed"
        yield Change(what, name, was, now, _sentence(what, name, how, now), rule_of(plural, how) != "never")


def _sentence(what: str, name: str, how: str, now: str | None) -> str:
    if what == "processor":
        return {
            "added": f"{name} receives data: {now}.",
            "dropped": f"{name} receives no data any more.",
            "changed": f"{name} receives data for: {now}.",
        }[how]
    if what == "promise":
        return {"added": f"New: {now}.", "dropped": f"The promise {name} is dropped.", "changed": f"Now: {now}."}[how]
    return {"added": f"Clause {name} is new.", "dropped": f"Clause {name} is dropped.", "changed": f"Clause {name} is worded anew."}[how]  # fmt: skip


def _processors(document: Mapping[str, Any]) -> dict[str, str]:
    return {str(each["name"]): str(each.get("purpose", "")) for each in document.get("processors") or ()}


def _promises(document: Mapping[str, Any]) -> dict[str, str]:
    return {str(each["id"]): str(each.get("text") or each["id"]) for each in document.get("promises") or ()}


def _texts(document: Mapping[str, Any]) -> dict[str, str]:
    return {str(clause): str(text) for clause, text in (document.get("texts") or {}).items()}
