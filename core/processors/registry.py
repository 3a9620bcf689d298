"""Which processors concern a person, and who does their part.

Danger: a processor that nobody configured is quietly left out. Principle: the policy in force says who receives data, the labels
say which; a name on either list always gets somebody. Mechanism: the configured processor of that name, else the attested
manual way. A policy's processor of which no label says what it receives concerns everybody: somebody has to look there.
"""

from collections.abc import Callable, Sequence

from core.models.labels import Processor as Named
from core.models.ways import fates
from core.processors.local import Local
from core.processors.manual import Manual
from core.processors.protocol import Processor

Maker = Callable[[], Processor | None]
_makers: dict[str, Maker] = {}


def register(name: str, make: Maker) -> None:
    """Say how the processor ``name`` is made from the settings; ``make`` returns None while it is not configured."""
    _makers[name] = make


def concerned(kind: str, listed: Sequence[str]) -> tuple[Processor, ...]:
    """Return the processors that concern a "student" or "visitor": third parties first, in the order of their names, this
    database last, because their ids for the person are known here only. ``listed`` are the names of the policy."""
    return (*(configured(name) for name in third_parties(kind, listed)), Local())


def third_parties(kind: str, listed: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the third parties that concern a "student" or "visitor"."""
    receive = {name for fate in fates(kind) for name in fate.processors}
    labeled = {str(name) for name in Named}
    return tuple(sorted(receive | {name for name in listed if name not in labeled}))


def configured(name: str) -> Processor:
    """Return the processor of a name, or the manual way when nobody configured it."""
    make = _makers.get(name)
    return (make() if make else None) or Manual(name)
