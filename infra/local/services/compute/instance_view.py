"""What instance views tell of extensions."""

from typing import Any

from infra.local.arm.store import Resource

Json = dict[str, Any]


def extension_views(extensions: list[Json], machine: Resource, output: str) -> list[Json]:
    """Show the extensions of a machine's model, which ran as one; none before its first boot has ended."""
    error = machine.internal.get("error")
    if machine.state not in {"Succeeded", "Failed"} or (error and "Extension" not in error["code"]):
        return []
    return [extension_view(extension, output, error) for extension in extensions]


def extension_view(extension: Json, output: str, error: Json | None) -> Json:
    """Show one extension: how it ended and what it printed."""
    properties = extension.get("properties") or {}
    state = "failed" if error else "succeeded"
    message = error["message"] if error else f"Enable succeeded: \n[stdout]\n{output}\n[stderr]\n"
    return {
        "name": extension.get("name", ""),
        "type": f"{properties.get('publisher', '')}.{properties.get('type', '')}",
        "typeHandlerVersion": properties.get("typeHandlerVersion", ""),
        "statuses": [
            {
                "code": f"ProvisioningState/{state}" + (f"/{error['code']}" if error else "/0"),
                "level": "Error" if error else "Info",
                "displayStatus": f"Provisioning {state}",
                "message": message,
            }
        ],
    }


def count_extensions(extensions: list[Json], states: list[str | None]) -> list[Json]:
    """Count how the extensions of a set ended on its instances."""
    ended = [str(state).lower() for state in states if state in {"Succeeded", "Failed"}]
    summary = [{"code": f"ProvisioningState/{state}", "count": ended.count(state)} for state in sorted(set(ended))]
    return [{"name": extension.get("name", ""), "statusesSummary": summary} for extension in extensions]
