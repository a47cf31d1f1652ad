"""What the provider makes of a program's inputs: names made up, and inputs brought up to date by a refresh."""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from pulumi.runtime.proto import provider_pb2

from infra.local.provider.mapping import ResourceType, Values

# In the inputs of a resource whose name has random digits: its successor can stand beside it.
CREATE_BEFORE_DELETE = "__createBeforeDelete"
_ABSENT = object()
_RANDOM_DIGITS = 8
_OPTIONS = provider_pb2.CheckRequest.AutonamingOptions


def name_into(inputs: Values, olds: Mapping[str, Any], resource_type: ResourceType, request: Any) -> None:
    """Fill in the name where the program gives none: the old one, or a new one as the engine's settings have it."""
    if inputs.get(resource_type.name):
        return
    kept = olds.get(resource_type.name)
    options = request.autonaming if request.HasField("autonaming") else None
    is_random = resource_type.naming in {"random", "uuid"}
    if kept:
        inputs[resource_type.name] = kept
        is_random = bool(olds.get(CREATE_BEFORE_DELETE))
    elif options is not None and options.mode == _OPTIONS.Mode.DISABLE:
        return
    elif options is not None and (options.mode == _OPTIONS.Mode.ENFORCE or resource_type.naming in {"random", "copy"}):
        inputs[resource_type.name] = options.proposed_name
        is_random = True
    else:
        inputs[resource_type.name] = _new_name(resource_type, request)
    if is_random:
        inputs[CREATE_BEFORE_DELETE] = True


def _new_name(resource_type: ResourceType, request: Any) -> str:
    """Make up a name, the same one whenever the engine asks with the same seed."""
    logical = str(request.urn.split("::")[3])
    if resource_type.naming.startswith("="):
        return resource_type.naming[1:]
    if resource_type.naming == "copy":
        return logical
    seed = request.randomSeed or uuid.uuid4().bytes
    if resource_type.naming == "uuid":
        return str(uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4))
    return f"{logical}{hashlib.sha256(seed).hexdigest()[:_RANDOM_DIGITS]}"


def refreshed(inputs: Any, before: Any, now: Any) -> Any:
    """Return the inputs after a refresh: what differs between two readings of the service goes into them.

    Both readings are in the shape of inputs. Most of what a service tells are values of its own that the program never
    gave; as long as they stay as they were they are no change.
    """
    if before == now:
        return inputs
    if not isinstance(now, Mapping):
        return _refreshed_list(inputs, before, now)
    merged = dict(inputs) if isinstance(inputs, Mapping) else {}
    earlier = before if isinstance(before, Mapping) else {}
    for name in earlier.keys() - now.keys():
        merged.pop(name, None)
    for name, value in now.items():
        was = earlier.get(name, _ABSENT)
        if was != value:
            merged[name] = value if was is _ABSENT else refreshed(merged.get(name), was, value)
    return merged


def _refreshed_list(inputs: Any, before: Any, now: Any) -> Any:
    """Refresh item by item where nothing came or went, so that an item's own defaults stay out of the inputs."""
    lists = [value for value in (inputs, before, now) if isinstance(value, list)]
    if len(lists) == len((inputs, before, now)) and len({len(value) for value in lists}) == 1:
        return [refreshed(*items) for items in zip(*lists, strict=True)]
    return now
