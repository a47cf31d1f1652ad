"""The control blobs: what the scheduler asks of each node, with a number that only grows."""

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from node_bootstrap.protocol import (
    CONTROL,
    Directive,
    NodeControl,
    ProtocolError,
    StopRef,
    control_blob,
    decode,
    encode,
)
from scheduler.errors import AccessDeniedError, NotFoundError, UnavailableError
from scheduler.model import Node, NodePhase
from scheduler.ports.fleet_store import FleetStore
from scheduler.ports.storage import Blobs

_LOG = logging.getLogger(__name__)

# A booting node finds no control and waits; a lost one is asked for nothing until it is heard of or given up.
DIRECTIVES: Mapping[NodePhase, Directive] = {
    NodePhase.WORKING: Directive.WORK,
    NodePhase.DRAINING: Directive.DRAIN,
    NodePhase.DRAINED: Directive.DRAIN,
    NodePhase.REMOVING: Directive.RETIRE,
}
_MAY_RUN = frozenset({NodePhase.WORKING, NodePhase.DRAINING})

_ABSENT = NodeControl(number=0, directive=Directive.WORK)


class Controls:
    """Keeps each node's control blob as its row says; the row is written first, so a crash between is mended here."""

    def __init__(self, store: FleetStore, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._written: dict[str, NodeControl] = {}

    def write(
        self,
        epoch: int,
        nodes: Iterable[Node],
        stops: Mapping[str, tuple[StopRef, ...]],
        woken: AbstractSet[str] = frozenset(),
    ) -> bool:
        """Write the controls that differ from rows and stop lists (by pool), and wake nodes by name.

        What fails is tried again next time, a waking excepted, since a node looks by itself sooner or later. Says
        whether all of them stand now as they should.
        """
        whole = True
        asked = [node for node in nodes if node.phase in DIRECTIVES]
        self._forget_others(asked)
        stale: dict[str, int] = {}
        due: list[Node] = []
        for node in asked:
            there = self._present(node.node_id)
            if there is None:
                whole = False
            elif _wanted(node, stops, there.wake) != there:
                if there.number >= node.control_number:
                    stale[node.node_id] = there.number
                else:
                    due.append(node)
            elif node.node_id in woken:
                due.append(node)
        due += self._store.next_controls(epoch, stale) if stale else ()
        for node in due:
            wake = self._written[node.node_id].wake + (node.node_id in woken)
            whole &= self._put(node, _wanted(node, stops, wake))
        return whole

    def retired(self, node: Node) -> bool:
        """Whether the node's blob tells it to retire."""
        there = self._written.get(node.node_id)
        return there is not None and there.directive is Directive.RETIRE

    def _forget_others(self, asked: list[Node]) -> None:
        names = {node.node_id for node in asked}
        self._written = {name: control for name, control in self._written.items() if name in names}

    def _present(self, node_id: str) -> NodeControl | None:
        """Give the control that stands in storage; None when that cannot be known now."""
        if node_id not in self._written:
            try:
                self._written[node_id] = decode(NodeControl, self._blobs.read(CONTROL, control_blob(node_id)))
            except NotFoundError:
                self._written[node_id] = _ABSENT
            except ProtocolError as error:
                _LOG.warning("the control of node %s cannot be understood and is written anew: %s", node_id, error)
                self._written[node_id] = _ABSENT
            except (UnavailableError, AccessDeniedError) as error:
                _LOG.warning("the control of node %s could not be read: %s", node_id, error)
                return None
        return self._written[node_id]

    def _put(self, node: Node, control: NodeControl) -> bool:
        try:
            self._blobs.write(CONTROL, control_blob(node.node_id), encode(control).encode())
        except (UnavailableError, AccessDeniedError) as error:
            # It may have been written all the same: read it before the next try.
            self._written.pop(node.node_id, None)
            _LOG.warning("the control of node %s could not be written: %s", node.node_id, error)
            return False
        self._written[node.node_id] = control
        return True


def _wanted(node: Node, stops: Mapping[str, tuple[StopRef, ...]], wake: int) -> NodeControl:
    listed = stops.get(node.group.pool, ()) if node.phase in _MAY_RUN else ()
    return NodeControl(node.control_number, DIRECTIVES[node.phase], listed, wake)
