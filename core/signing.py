"""Signatures that anybody can check without this program: Ed25519, under the key of the audit.

Checkpoints, the erasure ledger and certificates of erasure are signed alike; the first line of what is signed says which of
them it is, so that none can pass for another.
"""

from collections.abc import Callable
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core import keys

PURPOSE = "audit"


def sign(statement: bytes) -> tuple[str, str]:
    """Return the public key and the signature of a statement, in hex."""
    return signer()(statement)


def signer() -> Callable[[bytes], tuple[str, str]]:
    """Return what signs many statements with the key that is current now: it is read once."""
    secret = keys.current(PURPOSE).secret
    public, key = _public(secret), Ed25519PrivateKey.from_private_bytes(secret[:32])
    return lambda statement: (public, key.sign(statement).hex())


def our_keys() -> tuple[str, ...]:
    """Return the public keys (hex) under which this product has signed, the current one first."""
    return tuple(_public(key.secret) for key in keys.keys(PURPOSE).values())


def is_ours(signature: str, statement: bytes) -> bool:
    """Return whether one of our keys signed this."""
    return any(holds(public, signature, statement) for public in our_keys())


def holds(public_key: str, signature: str, statement: bytes) -> bool:
    """Return whether the owner of this public key signed this."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), statement)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=16)
def _public(secret: bytes) -> str:
    return (
        Ed25519PrivateKey.from_private_bytes(secret[:32])
        .public_key()
        .public_bytes(Encoding.Raw, PublicFormat.Raw)
        .hex()
    )
