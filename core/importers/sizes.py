"""How much is made up. Apart from the making, whose libraries take half a second to load and are needed by one command only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How much of everything. The defaults keep a million students to some minutes and about 11 GB."""

    students: int
    seed: int = 1
    visitors: float = 0.15
    """visitors per student"""
    projects: int = 3
    """modules of each program whose work is handed in and reviewed: about 0.7 submissions an enrollment each"""
    usage: float = 8.0
    """usage events per enrollment that ran during the last ``RECENT_DAYS``"""
    mails: float = 1.0
    """notices per student in the last ``RECENT_DAYS``, besides the confirmations"""
