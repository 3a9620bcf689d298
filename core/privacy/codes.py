"""One-time codes of staff: TOTP (RFC 6238) for signing in, and the codes of invitations and resets.

Danger: whoever copies the database could make everybody's codes. Principle: a secret is shown once, to its owner, and kept
encrypted under a key of its own; no code counts twice. Mechanism: AES-256-GCM bound to the staff member, so that a secret
copied to another row opens nothing; the half minute of the last code is kept, and only a later one is accepted (NIST SP
800-63B-4, 3.1.5). An invitation's code has 125 random bits, of which the database keeps SHA-256.
"""

import hashlib
import secrets
import uuid
from datetime import datetime

import pyotp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core import keys

ISSUER = "Resocode Admin"
STEP_SECONDS, NEAR_STEPS = 30, 1
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U
GROUPS, GROUP = 5, 5
_ALIKE = str.maketrans({"I": "1", "L": "1", "O": "0", "U": "V"})
_NONCE = 12


def new_secret() -> str:
    """Return a new TOTP secret in base32 (160 bits)."""
    return pyotp.random_base32(32)


def address(secret: str, *, email: str) -> str:
    """Return the ``otpauth://`` address that an authenticator app reads from the QR code."""
    return pyotp.TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=email, issuer_name=ISSUER)


def step_of(secret: str, code: str, *, now: datetime) -> int | None:
    """Return the half minute to which a code belongs: this one, the one before or the next. None for a wrong code."""
    typed = "".join(char for char in code if char.isascii() and char.isdigit())
    current = int(now.timestamp()) // STEP_SECONDS
    fitting = None
    for step in range(current - NEAR_STEPS, current + NEAR_STEPS + 1):  # all of them, whichever fits: the same time
        made = pyotp.TOTP(secret, interval=STEP_SECONDS).at(step * STEP_SECONDS)
        if secrets.compare_digest(made, typed):
            fitting = step
    return fitting


def sealed(secret: str, *, staff_id: uuid.UUID) -> bytes:
    """Return what the database keeps of a TOTP secret: ``<key id>:`` nonce, ciphertext."""
    key = keys.current("codes")
    nonce = secrets.token_bytes(_NONCE)
    return f"{key.id}:".encode() + nonce + AESGCM(key.secret[:32]).encrypt(nonce, secret.encode(), staff_id.bytes)


def unsealed(kept: bytes, *, staff_id: uuid.UUID) -> str | None:
    """Return the secret, or None when its key is gone or it belongs to somebody else: no code fits then."""
    key_id, _, rest = kept.partition(b":")
    key = keys.keys("codes").get(key_id.decode())
    if key is None:
        return None
    try:
        return AESGCM(key.secret[:32]).decrypt(rest[:_NONCE], rest[_NONCE:], staff_id.bytes).decode()
    except InvalidTag:
        return None


def new_invitation_code() -> str:
    """Return a code to be read and typed by people: ``4F7KD-…``, 125 random bits."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))


def invitation_digest(typed: str) -> bytes:
    """Return what the database keeps of an invitation's code, however its letters and dashes were typed."""
    plain = "".join(char for char in typed.upper().translate(_ALIKE) if char in ALPHABET)
    return hashlib.sha256(b"invitation\n" + plain.encode()).digest()
