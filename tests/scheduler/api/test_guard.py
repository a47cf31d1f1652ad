"""Who may speak to the API."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.guard import LoopbackGuard, is_loopback
from scheduler.api.page.sessions import Sessions


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8000", "127.8.9.10:80"]
)
def test_loopback_names_pass(host: str) -> None:
    """Every way to name this machine by a loopback name is accepted."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "example.org", "127.0.0.1.example.org:80", "localhost.example.org", "10.0.0.1", "[::2]:80", "[", "[::1", "a@b",
     "localhost@example.org", "example.org@localhost", "localhost/x", "192.168.0.1"],
)  # fmt: skip
def test_other_names_do_not_pass(host: str) -> None:
    """Names of other machines are refused, also those that a foreign site could make resolve to this one."""
    assert not is_loopback(host)


@given(host=st.text(max_size=30))
def test_no_header_breaks_the_check(host: str) -> None:
    """Whatever stands in the header, the check answers."""
    assert is_loopback(host) in {True, False}


def test_an_empty_token_is_refused() -> None:
    """An API that anybody could use by leaving the token out is not started."""

    async def application(scope: object, receive: object, send: object) -> None: ...

    with pytest.raises(ValueError, match="token"):
        LoopbackGuard(application, "", Sessions("token", lambda: 0.0))
