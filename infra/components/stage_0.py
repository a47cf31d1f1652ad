"""How stage 0 gets onto a machine: in an extension's settings, or as the command of a Batch pool's start task."""

import base64
from typing import Any

from node_bootstrap.render import OperatingSystem


def extension_settings(system: OperatingSystem, stage_0: str) -> dict[str, str]:
    """Give the settings with which the custom-script extension runs stage 0."""
    if system is OperatingSystem.LINUX:
        return {"script": _encoded(stage_0)}
    return {"commandToExecute": _powershell(stage_0)}


def start_command(system: OperatingSystem, stage_0: str) -> str:
    """Give the command line of a start task that runs stage 0; Azure Batch starts it without a shell."""
    if system is OperatingSystem.LINUX:
        return f'/bin/bash -c "bash <(echo {_encoded(stage_0)} | base64 -d)"'
    return _powershell(stage_0)


def extension(system: OperatingSystem, settings: Any) -> dict[str, Any]:
    """Give the extension that runs stage 0, with its settings."""
    linux = system is OperatingSystem.LINUX
    return {
        "name": "bootstrap",
        "publisher": "Microsoft.Azure.Extensions" if linux else "Microsoft.Compute",
        "type": "CustomScript" if linux else "CustomScriptExtension",
        "type_handler_version": "2.1" if linux else "1.10",
        "auto_upgrade_minor_version": True,
        "settings": settings,
    }


def _encoded(stage_0: str) -> str:
    return base64.b64encode(stage_0.encode()).decode()


def _powershell(stage_0: str) -> str:
    # Not -EncodedCommand: UTF-16 in base64 would pass the 8,191 characters that a Windows command line may have.
    encoded = _encoded(stage_0)
    command = f"& ([ScriptBlock]::Create([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('{encoded}'))))"
    return f'powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -Command "{command}"'
