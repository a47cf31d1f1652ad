"""The records by which a command finds a deployment and its scheduler."""

from pathlib import Path

import pytest

from scheduler.cli.home import ApiAddress, StackFolder
from scheduler.errors import NotFoundError

_ADDRESS = ApiAddress(url="http://127.0.0.1:1", token="t", pid=7)


def test_the_address_is_for_its_owner_only(tmp_path: Path) -> None:
    """The file with the token can be read by nobody else."""
    folder = StackFolder("local", tmp_path)
    assert folder.api_address() is None
    folder.publish_api(_ADDRESS)
    assert folder.api_address() == _ADDRESS
    assert (tmp_path / "local" / "api.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "local").iterdir()] == ["api.json"]


def test_only_its_own_address_is_withdrawn(tmp_path: Path) -> None:
    """A scheduler that ends leaves the address of the one that took over."""
    folder = StackFolder("local", tmp_path)
    folder.publish_api(_ADDRESS)
    folder.withdraw_api(ApiAddress(url="http://127.0.0.1:2", token="u", pid=8))
    assert folder.api_address() == _ADDRESS
    folder.withdraw_api(_ADDRESS)
    assert folder.api_address() is None


@pytest.mark.parametrize("text", [None, "", "{}", "{"])
def test_a_missing_deployment_is_told(tmp_path: Path, text: str | None) -> None:
    """Without a deployment, or with a broken record of one, the message says how to make one."""
    if text is not None:
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev" / "deployment.json").write_text(text)
    with pytest.raises(NotFoundError, match="millpond up --stack dev"):
        StackFolder("dev", tmp_path).deployment()
