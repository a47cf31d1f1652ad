"""Signing in to a database with a token of Microsoft Entra instead of a password."""

from azure.core.credentials import TokenCredential
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from scheduler.adapters.azure_errors import translated
from scheduler.errors import InvalidRequestError

# The audience of Azure Database for PostgreSQL (docs: Microsoft Entra authentication with a flexible server).
SCOPE = "https://ossrdbms-aad.database.windows.net/.default"

_PROVEN = "verify-full"


class EntraPassword:
    """Gives a token as the password of a new connection.

    A token is good for about an hour and is asked for by the server when a connection begins, not later; the
    credential keeps it for as long as it is good.
    """

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    def __call__(self) -> str:
        """Give a token that is good now."""
        with translated("getting a token for the store's database"):
            return self._credential.get_token(SCOPE).token


def proven_address(url: str, authorities: str) -> str:
    """Give a store's address that a token may be sent to: its server must prove its name, by these authorities.

    `InvalidRequestError` for an address that has a password, or that is content with less.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidRequestError("the store's address cannot be understood") from None
    if not address.host or not address.username or address.password is not None:
        raise InvalidRequestError(
            "with --store-sign-in entra the store's address names a user and a host, and no password: "
            "postgresql+psycopg://<identity>@<server>.postgres.database.azure.com/<database>"
        )
    mode = address.query.get("sslmode", _PROVEN)
    if mode != _PROVEN:
        raise InvalidRequestError(
            f"a token is sent to a server that has proven its name only: write sslmode={_PROVEN} instead of {mode}"
        )
    asked = {"sslmode": _PROVEN, "sslrootcert": authorities, **address.query}
    return address.set(query=asked).render_as_string(hide_password=False)
