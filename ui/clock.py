"""The one place where the screens read the clock: everything behind them takes ``now`` as an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return this instant in UTC."""
    return datetime.now(UTC)
