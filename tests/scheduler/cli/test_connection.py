"""How a command finds the scheduler."""

from pathlib import Path

import pytest

from scheduler.api.app import create_app
from scheduler.api.server import ApiServer
from scheduler.cli.connection import TOKEN_VARIABLE, URL_VARIABLE, scheduler_of
from scheduler.cli.home import ApiAddress, StackFolder
from scheduler.cli.place import HOME_VARIABLE
from scheduler.errors import AccessDeniedError, InvalidRequestError, UnavailableError
from scheduler.service import Service


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and no scheduler named."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    for name in (URL_VARIABLE, TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_scheduler_behind_a_tunnel_is_reached_by_its_address(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two variables lead to it, whatever was started on this machine; a wrong token is refused."""
    StackFolder("dev").publish_api(ApiAddress("http://127.0.0.1:9", "another", 1))
    with ApiServer(create_app(service, "right")) as server:
        monkeypatch.setenv(URL_VARIABLE, server.url)
        monkeypatch.setenv(TOKEN_VARIABLE, "right")
        with scheduler_of("dev") as found:
            assert [pool.name for pool in found.list_pools()] == ["demo"]
        monkeypatch.setenv(TOKEN_VARIABLE, "wrong")
        with scheduler_of("dev") as found, pytest.raises(AccessDeniedError):
            found.list_pools()


def test_an_address_without_its_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the message says where the token is."""
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(InvalidRequestError, match=r"MILLPOND_API_TOKEN.*api\.json"):
        scheduler_of("dev")


def test_without_any_scheduler_the_message_says_how_to_start_one() -> None:
    """Neither named nor started here."""
    with pytest.raises(UnavailableError, match="millpond scheduler run"):
        scheduler_of("dev")
