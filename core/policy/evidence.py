"""What a check of a promise answers: a state, a sentence, figures, the query behind them, and the list to look at.

Four states, the worst first. *Broken*: something is not as promised. *At risk*: it will be, unless somebody acts. *Not proven*:
there is no evidence, or it is too old; that is never told as "holds". *Holds*: looked at, and as promised. A promise that is kept
in several places stands as the worst of them, so that evidence about this dashboard never speaks for the platform.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

HERE = "dashboard"


class State(StrEnum):
    """How a promise stands."""

    BROKEN = "broken"
    AT_RISK = "at risk"
    NOT_PROVEN = "not proven"
    HOLDS = "holds"


@dataclass(frozen=True)
class Link:
    """The way to the list behind a figure: a page and its filters."""

    words: str
    page: str
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What was found about a promise in one ``place``. Figures name no person; ``query`` is what produced them."""

    state: State
    sentence: str
    figures: Mapping[str, int | str] = field(default_factory=dict)
    query: str = ""
    links: tuple[Link, ...] = ()
    place: str = HERE

    def stored(self) -> dict[str, Any]:
        """Return it as it is kept in the history."""
        return {**asdict(self), "state": str(self.state), "links": [asdict(link) for link in self.links]}


def restored(kept: Mapping[str, Any]) -> Evidence:
    """Return what :meth:`Evidence.stored` kept."""
    links = tuple(Link(**link) for link in kept["links"])
    return Evidence(**{**kept, "state": State(kept["state"]), "links": links})


def worst(states: Iterable[State]) -> State:
    """Return the worst of several states; nothing at all proves nothing."""
    order = list(State)
    return min(states, key=order.index, default=State.NOT_PROVEN)


def judged(
    broken: object,
    at_risk: object,
    sentence: str,
    *,
    figures: Mapping[str, int | str] | None = None,
    query: str = "",
    links: tuple[Link, ...] = (),
) -> Evidence:
    """Return evidence that is broken or at risk if something of that kind was found, and holds otherwise."""
    state = State.BROKEN if broken else State.AT_RISK if at_risk else State.HOLDS
    return Evidence(state, sentence, figures or {}, query.strip(), links if state is not State.HOLDS else ())


def not_proven(sentence: str, *, figures: Mapping[str, int | str] | None = None, query: str = "") -> Evidence:
    """Return that there is no evidence, with the reason in words."""
    return Evidence(State.NOT_PROVEN, sentence, figures or {}, query.strip())
