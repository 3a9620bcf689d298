"""Third parties as the contract suite meets them: a real processor, what stands behind its wire, and a reader of its own.

A new processor gets a rig here, and with it every test of test_contract.py. ``holds`` looks into the store itself, and shares
no code with the processor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import pytest
from sqlalchemy import text

from core import db
from core.processors import cloudinary
from core.processors.protocol import Processor
from tests.cast import id_of
from tests.doubles.cloudinary_server import CLOUD, KEY, SECRET, Library
from tests.doubles.wire import FAULTS, Wire, listening

KNOWN = {"cleo": "p-12", "ben": "p-123", "asha": "p-1"}  # platform ids: each begins another one


class Rig(Protocol):
    """One third party."""

    name: str
    faults: tuple[str, ...]
    sent: frozenset[str]
    secret: str

    def processor(self) -> Processor:
        """The processor, as the settings make it."""

    def put(self, who: str) -> None:
        """Give the third party what it keeps about one of the cast."""

    def holds(self, who: str) -> bool:
        """Whether it keeps anything about them, read without the processor."""

    def breaks(self, *faults: str, reading: bool = False) -> None:
        """Let the next calls that change something meet faults; with ``reading`` any."""

    def mend(self) -> None:
        """Let everything work again."""

    def left(self) -> tuple[set[str], str]:
        """The names of all parameters that left for it, and everything that left, as text."""


def on_the_platform(*names: str) -> None:
    """Let the platform know some of the cast, with a picture and a certificate image."""
    with db.transaction("worker") as session:
        for name in names:
            known = {"id": id_of(name), "key": KNOWN[name], "certificate": id_of(f"{name} enrollment"),
                     "url": f"https://res.cloudinary.com/{CLOUD}/image/upload/v1/students/{KNOWN[name]}"}  # fmt: skip
            session.execute(
                text("update platform.student set source = 'mongodb', source_key = :key where id = :id"), known
            )
            session.execute(text("update platform.student_profile set avatar_url = :url || '/portrait.jpg' where student_id = :id"), known)  # fmt: skip
            session.execute(text("update platform.certificate set url = :url || '/certificate.jpg' where enrollment_id = :certificate"), known)  # fmt: skip


@dataclass
class CloudinaryRig:
    """Cloudinary's library, a wire, and a media library that keeps state."""

    wire: Wire
    library: Library
    name: str = "Cloudinary"
    faults: tuple[str, ...] = FAULTS
    sent: frozenset[str] = cloudinary.SENT
    secret: str = SECRET

    def processor(self) -> Processor:
        made = cloudinary.made()
        assert made
        return made

    def put(self, who: str) -> None:
        folder = f"students/{KNOWN[who]}"
        for file, kind, type_ in (("portrait", "image", "upload"), ("certificate", "image", "upload"), ("talk", "video", "upload"),
                                  ("work.zip", "raw", "upload"), ("passport", "image", "private"), ("letter", "raw", "authenticated")):  # fmt: skip
            self.library.put(f"{folder}/{file}", kind=kind, type_=type_)

    def holds(self, who: str) -> bool:
        folder = f"students/{KNOWN[who]}/"
        return any(name.startswith(folder) for name in self.library.names()) or self.library.delivered(folder)

    def breaks(self, *faults: str, reading: bool = False) -> None:
        if "refused" in faults:
            self.wire.down()
            return
        self.wire.faults, self.wire.changes_only = list(faults), not reading

    def mend(self) -> None:
        self.wire.faults = []
        if self.wire._server is None:
            self.wire.up()

    def left(self) -> tuple[set[str], str]:
        return self.wire.sent(), self.wire.everything()


@contextmanager
def cloudinary_rig(patch: pytest.MonkeyPatch) -> Iterator[CloudinaryRig]:
    library = Library()
    with listening(library.wire()) as wire:
        patch.setenv("RESOCODE_CLOUDINARY_URL", f"cloudinary://{KEY}:{SECRET}@{CLOUD}?upload_prefix={wire.address}")
        patch.setenv("RESOCODE_CLOUDINARY_DELIVERY", f"{wire.address}/{CLOUD}")
        delivered_from(f"{wire.address}/{CLOUD}")
        yield CloudinaryRig(wire, library)


def delivered_from(address: str) -> None:
    """Let the addresses in our records be those of the double."""
    with db.transaction("worker") as session:
        for table, column in (("student_profile", "avatar_url"), ("certificate", "url")):
            moved = (
                f"update platform.{table} set {column} = replace({column}, :old, :new) where {column} like :old || '%'"
            )
            session.execute(text(moved), {"old": f"https://res.cloudinary.com/{CLOUD}", "new": address})


RIGS = {"Cloudinary": cloudinary_rig}
