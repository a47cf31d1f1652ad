"""Links and sessions of the page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.page.sessions import LINK_SECONDS, SESSION_SECONDS, Sessions, cookie_name


class Seconds:
    """A clock that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now


def test_a_link_opens_one_session() -> None:
    """The second browser that comes by the same link is refused."""
    sessions = Sessions("token", Seconds())
    code = sessions.new_link()
    session = sessions.open(code)
    assert session is not None
    assert sessions.is_open(session)
    assert sessions.open(code) is None


def test_links_and_sessions_run_out() -> None:
    """A link soon, a session at the end of the day."""
    clock = Seconds()
    sessions = Sessions("token", clock)
    late, session = sessions.new_link(), sessions.open(sessions.new_link())
    assert session is not None
    clock.now += LINK_SECONDS
    assert sessions.open(late) is None
    assert sessions.is_open(session)
    clock.now += SESSION_SECONDS - LINK_SECONDS
    assert not sessions.is_open(session)


def test_neither_stands_for_the_other_nor_outlives_its_token() -> None:
    """A link is no session, a session no link, and another run of the scheduler knows neither."""
    sessions, other = Sessions("token", Seconds()), Sessions("another", Seconds())
    code = sessions.new_link()
    session = sessions.open(sessions.new_link())
    assert session is not None
    assert not sessions.is_open(code)
    assert sessions.open(session) is None
    assert other.open(code) is None
    assert not other.is_open(session)


@given(st.text())
def test_nothing_made_up_is_good(text: str) -> None:
    """Whatever a browser sends, it is refused and nothing breaks."""
    sessions = Sessions("token", Seconds())
    assert sessions.open(text) is None
    assert not sessions.is_open(text)
    assert not sessions.is_open(f"99999999999.x.{text}")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1:80", "millpond_80"),
        ("[::1]:81", "millpond_81"),
        ("localhost", "millpond_page"),
        ("", "millpond_page"),
    ],
)
def test_each_port_has_its_cookie(host: str, name: str) -> None:
    """Two schedulers of one machine do not sign each other's browsers out."""
    assert cookie_name(host) == name
