"""The dashboard's password: hashed with Argon2id, which is slow and wants memory on purpose.

Source: https://www.rfc-editor.org/rfc/rfc9106
"""

from __future__ import annotations

from ..protocol.errors import BadRequest

MIN_LENGTH = 8
MAX_LENGTH = 1000
# More than OWASP's least (19 MiB, 2 passes, 1 lane); the front stays small.
PASSES, KIBIBYTES, LANES = 3, 32 * 1024, 1


def check_new(password: str) -> str:
    """Raises BadRequest for one that will not do."""
    if len(password) < MIN_LENGTH:
        raise BadRequest(f"A password has at least {MIN_LENGTH} characters.", param="password")
    if len(password) > MAX_LENGTH:
        raise BadRequest(f"A password has at most {MAX_LENGTH} characters.", param="password")
    return password


def hashed(password: str) -> str:
    """Argon2id's own notation, with a fresh salt. Takes some 50 ms."""
    from argon2 import PasswordHasher

    return PasswordHasher(PASSES, KIBIBYTES, LANES).hash(password.encode("utf-8", "surrogatepass"))


def is_right(password: str, kept: str) -> bool:
    """Takes as long as `hashed`."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > MAX_LENGTH:
        return False
    try:
        return PasswordHasher().verify(kept, password.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False
