"""What a certificate of erasure is: the document, its signature, the file, and whether it is genuine. Made in core.privacy.certificates."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import signing
from core.models.proof import ErasureCertificate

DOMAIN = b"resocode-certificate-1\n"


@dataclass(frozen=True)
class Certificate:
    """A certificate as it was issued. ``text`` is the canonical JSON that is signed."""

    number: str
    erasure_id: uuid.UUID
    issued_at: datetime
    text: str
    sha256: str
    public_key: str
    signature: str

    @property
    def document(self) -> dict[str, Any]:
        """The certificate as plain data."""
        return dict(json.loads(self.text))

    @property
    def file(self) -> str:
        """The certificate as a file: for people to read, and for ``bin/verify-certificate``."""
        told = {
            "document": self.document,
            "sha256": self.sha256,
            "public_key": self.public_key,
            "signature": self.signature,
        }
        return json.dumps(told, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def told_of(row: ErasureCertificate) -> Certificate:
    """Return a kept certificate as it was issued."""
    return Certificate(
        f"E-{row.number}", row.erasure_id, row.issued_at, row.document, row.sha256, row.public_key, row.signature
    )


def is_genuine(made: Certificate) -> bool:
    """Return whether a certificate is as one of our keys signed it."""
    told = made.text.encode()
    return hashlib.sha256(told).hexdigest() == made.sha256 and signing.is_ours(made.signature, DOMAIN + told)


def canonical(document: dict[str, Any]) -> bytes:
    """Return plain data as the bytes that are hashed and signed."""
    return json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
