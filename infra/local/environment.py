"""The environment in which unchanged Azure clients and the Pulumi engine use the local Azure."""

import os
import shlex
import shutil
from pathlib import Path

from infra.local import toolchain
from infra.local.layout import Layout, RunningState
from infra.local.lock import require_running

# The local stacks hold no secrets of worth, and a passphrase is needed to create one.
_PASSPHRASE = "local"  # noqa: S105 -- see above


def environment(home: Path) -> dict[str, str]:
    """Return the variables to set; `LocalAzureError` when the local Azure of this home is not up."""
    layout = Layout(home.resolve())
    return environment_at(layout, require_running(layout))


def environment_at(layout: Layout, state: RunningState) -> dict[str, str]:
    """Return the variables for a local Azure as its state says where it is, or where it comes back after a crash."""
    engine = str(toolchain.pulumi_command().parent)
    others = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part != engine]
    path = os.pathsep.join([engine, *others])
    variables = {
        "PATH": path,
        "PULUMI_BACKEND_URL": layout.pulumi_backend.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": _PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_DEBUG_PROVIDERS": f"azure-native:{state.provider_port}",
        "REQUESTS_CA_BUNDLE": state.ca_file,
        "SSL_CERT_FILE": state.ca_file,
        "NODE_EXTRA_CA_CERTS": state.ca_file,
        "IDENTITY_ENDPOINT": state.identity_endpoint,
        "IDENTITY_HEADER": state.identity_header,
        "ARM_SUBSCRIPTION_ID": state.subscription_id,
        "ARM_TENANT_ID": state.tenant_id,
        # The user as a service principal, for clients that sign in, such as `az login` and other languages' SDKs.
        "ARM_CLIENT_ID": state.client_id,
        "ARM_CLIENT_SECRET": state.identity_header,
        "ARM_METADATA_HOSTNAME": state.metadata_host,
        # `az` in this shell has settings and a sign-in apart from those for Azure, and asks nobody else whether this
        # sign-in service is one.
        "AZURE_CONFIG_DIR": str(layout.azure_cli),
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        **past_proxies(),
    }
    if shutil.which("pulumi-language-python", path=path) is None:
        variables["PULUMI_DEBUG_LANGUAGES"] = f"python:{state.language_port}"
    return variables


def past_proxies() -> dict[str, str]:
    """Return the variables that keep clients from asking a proxy for this machine, in both spellings in use."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host for host in named.split(",") if host]
    value = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


def shell_exports(variables: dict[str, str]) -> str:
    """Write the variables as lines for `eval` in a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
