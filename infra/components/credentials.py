"""What Azure demands to log in with where nobody logs in: made here, kept by nobody."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def throw_away_public_key() -> str:
    """Give a public key whose private half is gone when this returns."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
