"""A ZIP that only a password opens, for a file that has to travel: AES-256 (WinZip AE-2), made on the way out.

Danger: names of files inside an encrypted ZIP are readable; a short password is guessed (its key derivation has 1,000 rounds).
Principle: one inner file with a name that says nothing, and a password made by a machine (core.privacy.exports: 25 of 31
signs, 123 bits). Mechanism: pyzipper writes to something that cannot be wound back, so that nothing is held in memory or on a disk.
7-Zip and Keka open it; the ZIP program of Windows does not.
"""

from collections.abc import Iterable, Iterator

from core.privacy.export_build import Buffer

INNER = "export.zip"


def sealed(content: Iterable[bytes], *, password: str) -> Iterator[bytes]:
    """Return the ZIP bit by bit; ``content`` is drawn once."""
    buffer = Buffer()
    import pyzipper  # type: ignore[import-untyped]  # a tenth of a second with its ciphers, which no start needs

    with pyzipper.AESZipFile(buffer, "w", compression=pyzipper.ZIP_STORED, encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(password.encode())
        archive.setencryption(pyzipper.WZ_AES, nbits=256)
        with archive.open(INNER, "w", force_zip64=True) as file:
            for chunk in content:
                file.write(chunk)
                yield buffer.taken()
    yield buffer.taken()
