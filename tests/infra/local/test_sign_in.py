"""The sign-in service, as clients of several languages ask it."""

import pytest
from azure.core.rest import HttpRequest

from tests.infra.local.conftest import GROUP, RunningAzure


@pytest.mark.parametrize("extra", ["", " openid offline_access profile"])
def test_scopes_of_sign_in_do_not_spoil_a_token(running: RunningAzure, extra: str) -> None:
    """A token is for the resource that is asked for, also when a client (Go's does) asks for those of sign-in too."""
    account = running.azure.account
    form = {
        "grant_type": "client_credentials",
        "client_id": account.deployer.client_id,
        "client_secret": account.identity_header,
        "scope": f"{running.azure.arm_url}/.default{extra}",
    }
    url = f"{running.azure.arm_url}/{account.tenant_id}/oauth2/v2.0/token"
    answer = running.resources.send_request(HttpRequest("POST", url, data=form)).json()
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    group = HttpRequest("GET", f"{running.azure.arm_url}{running.group}?api-version=2024-11-01", headers=headers)
    assert running.resources.send_request(group).json()["name"] == GROUP
