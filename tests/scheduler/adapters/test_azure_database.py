"""Tokens as passwords, and the addresses that they may be sent to."""

import time
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from sqlalchemy import make_url

from scheduler.adapters.azure_database import EntraPassword, proven_address
from scheduler.errors import AccessDeniedError, InvalidRequestError

ADDRESS = "postgresql+psycopg://id-scheduler@psql.postgres.database.azure.com/millpond"
BUNDLE = "/etc/ssl/some authorities.pem"


class Credential:
    """Gives another token each time, or none."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.asked: list[str] = []
        self._refuses = refuses

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Give a token."""
        self.asked += scopes
        if self._refuses:
            raise ClientAuthenticationError("no identity here")
        return AccessToken(f"token {len(self.asked)}", int(time.time()) + 3600)


def test_each_password_is_a_token_for_databases() -> None:
    """A token is asked for each time, for the audience of Azure's databases alone."""
    credential = Credential()
    password = EntraPassword(credential)
    assert [password(), password()] == ["token 1", "token 2"]
    assert set(credential.asked) == {"https://ossrdbms-aad.database.windows.net/.default"}


def test_a_refused_token_is_told() -> None:
    """An identity without a token is an error of ours that says what was tried."""
    with pytest.raises(AccessDeniedError, match="getting a token for the store's database"):
        EntraPassword(Credential(refuses=True))()


@pytest.mark.parametrize("query", ["", "?sslmode=verify-full", "?application_name=x"])
def test_the_server_must_prove_its_name(query: str) -> None:
    """Whatever the address says of it, the server's certificate is checked with the authorities given."""
    found = make_url(proven_address(ADDRESS + query, BUNDLE))
    assert (found.query["sslmode"], found.query["sslrootcert"]) == ("verify-full", BUNDLE)
    assert (found.username, found.host, found.database) == (
        "id-scheduler",
        "psql.postgres.database.azure.com",
        "millpond",
    )


def test_authorities_of_ones_own_stay() -> None:
    """An address that names its authorities keeps them."""
    assert "own.pem" in proven_address(f"{ADDRESS}?sslrootcert=own.pem", BUNDLE)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_a_token_goes_to_nobody_else(mode: str) -> None:
    """An address that would be content with less is refused, with what to write."""
    with pytest.raises(InvalidRequestError, match=f"sslmode=verify-full instead of {mode}"):
        proven_address(f"{ADDRESS}?sslmode={mode}", BUNDLE)


@pytest.mark.parametrize(
    "address",
    [ADDRESS.replace("id-scheduler@", ""), ADDRESS.replace("@", ":hidden@"), "sqlite:///store", "postgresql:///x", "x"],
)
def test_an_address_without_a_name_or_with_a_password_is_refused(address: str) -> None:
    """There must be a user and a host, and never a password, which is not repeated."""
    with pytest.raises(InvalidRequestError) as raised:
        proven_address(address, BUNDLE)
    assert "hidden" not in str(raised.value)
