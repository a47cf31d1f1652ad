"""Autoscalers of Kubernetes: KEDA's azure-queue scaler with the HPA, Cluster Autoscaler, Escalator.

Each by its source and documentation. A pod is a job and takes one slot; a node takes what the group's nodes take.
Bounds such as `maxReplicaCount` are the group's: no peer is held to a maximum that others do not have.
"""

import math
from dataclasses import dataclass

from scheduler.simulator.interface import NOTHING, NOTHING_TILL_SOMETHING_HAPPENS, Detail, Observation, Orders
from scheduler.simulator.policies.sizing import bounded, idle_since_before, resize, short_of


@dataclass(frozen=True, slots=True)
class KedaState:
    """Recommendations of the stabilisation window, with their times, and when the queue last had a message."""

    recommended: tuple[tuple[float, int], ...] = ()
    active_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Keda:
    """KEDA's azure-queue scaler, strategy `all` (messages in work count), and the Horizontal Pod Autoscaler.

    Pods that are taken away end their message first, as with a long `terminationGracePeriodSeconds`; by default they
    would lose it, so this is the peer's better side.
    """

    interval: float | None = 15.0  # --horizontal-pod-autoscaler-sync-period: 15 s
    queue_length: float = 5.0  # KEDA, azure-queue: queueLength 5
    activation: int = 0  # KEDA: activationQueueLength 0
    cooldown: float = 300.0  # KEDA: cooldownPeriod 300 s, before the last replica goes
    tolerance: float = 0.1  # HPA: --horizontal-pod-autoscaler-tolerance 0.1
    stabilisation: float = 300.0  # HPA: --horizontal-pod-autoscaler-downscale-stabilization 5 min
    up_factor: float = 2.0  # HPA: default policy of scaling up, 100 % in 15 s ...
    up_pods: int = 4  # ... or 4 pods, whichever is more
    name: str = "keda"
    detail: Detail = Detail.COUNTS

    def start(self) -> KedaState:
        """Begin without recommendations."""
        return KedaState()

    def recommend(self, messages: int, replicas: int) -> int:
        """Give the HPA's recommendation: what the queue asks for, unless that is within the tolerance."""
        if replicas and abs(messages / (self.queue_length * replicas) - 1.0) <= self.tolerance:
            return replicas
        return max(1, math.ceil(messages / self.queue_length))

    def decide(self, seen: Observation, state: KedaState) -> tuple[Orders, KedaState]:
        """Activate and deactivate as KEDA does; between, as the HPA does."""
        messages = seen.waiting_slots + seen.running_slots
        replicas = seen.alive
        active_at = seen.now if messages > self.activation else state.active_at
        if replicas == 0:
            wanted = bounded(seen, 1) if messages > self.activation else 0
            return resize(seen, wanted), KedaState((), active_at)
        now_recommended = self.recommend(messages, replicas)
        past = state.recommended
        if past:
            # Where nothing has happened, the last recommendation was given anew at each sync since.
            past = (*past, (seen.now - (self.interval or 0.0), past[-1][1]))
        window = (
            *(each for each in past if each[0] > seen.now - self.stabilisation),
            (seen.now, now_recommended),
        )
        wanted = max(count for _, count in window)
        if wanted > replicas:
            # A growing pool is not held by the window: that holds the way down alone.
            wanted = min(max(now_recommended, replicas), int(max(self.up_factor * replicas, replicas + self.up_pods)))
        if messages <= self.activation and seen.now - active_at >= self.cooldown:
            wanted = 0
        orders = resize(seen, bounded(seen, wanted))
        settled = not orders.changes and messages > self.activation and now_recommended == wanted
        return (orders if settled or orders.changes else NOTHING), KedaState(window, active_at)


@dataclass(frozen=True, slots=True)
class ClusterAutoscaler:
    """Kubernetes' Cluster Autoscaler for jobs that may not be moved: a node goes when it has been empty for long."""

    interval: float | None = 10.0  # --scan-interval 10 s
    unneeded_time: float = 600.0  # --scale-down-unneeded-time 10 min
    delay_after_add: float = 600.0  # --scale-down-delay-after-add 10 min
    empty_bulk_delete: int = 10  # --max-empty-bulk-delete 10
    name: str = "cluster-autoscaler"
    detail: Detail = Detail.AGES

    def start(self) -> float:
        """Begin without a node added."""
        return -math.inf

    def decide(self, seen: Observation, state: float) -> tuple[Orders, float]:
        """Add what pending pods need beyond upcoming nodes; else take away what is unneeded."""
        wanted = bounded(seen, seen.alive + short_of(seen)) - seen.alive
        if wanted > 0:
            return Orders(request=wanted), seen.now
        if seen.waiting or not seen.idle:
            return NOTHING_TILL_SOMETHING_HAPPENS, state
        free_at = state + self.delay_after_add
        if seen.now < free_at:
            return Orders(wake_at=free_at), state
        unneeded = min(idle_since_before(seen, seen.now - self.unneeded_time), self.empty_bulk_delete)
        if unneeded:
            return Orders(stop_idle=unneeded), state
        return Orders(wake_at=seen.idle_since[0] + self.unneeded_time), state


@dataclass(frozen=True, slots=True)
class EscalatorState:
    """When nodes were last added, and when each tainted node was tainted."""

    added_at: float = -math.inf
    tainted: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Escalator:
    """Atlassian's Escalator: taints by utilisation, and takes tainted nodes back before it adds any.

    The hard grace period, after which a tainted node is deleted with its jobs, is left out: users of long jobs are told
    to set it longer than any of them.
    """

    interval: float | None = 60.0  # scaninterval 60 s
    scale_up: float = 70.0  # scale_up_threshold_percent
    upper: float = 40.0  # taint_upper_capacity_threshold_percent
    lower: float = 10.0  # taint_lower_capacity_threshold_percent
    slow_rate: int = 2  # slow_node_removal_rate
    fast_rate: int = 5  # fast_node_removal_rate
    cool_down: float = 120.0  # scale_up_cool_down_period 2 min
    cool_down_timeout: float = 600.0  # scale_up_cool_down_timeout 10 min
    soft_grace: float = 60.0  # soft_delete_grace_period 1 min
    name: str = "escalator"
    detail: Detail = Detail.NODES

    def start(self) -> EscalatorState:
        """Begin with nothing tainted."""
        return EscalatorState()

    def delta(self, requested: int, nodes: int, slots_per_node: int) -> int:
        """Give nodes to add (positive) or to taint (negative) for the slots that jobs request."""
        if nodes == 0:
            return math.ceil(requested * 100.0 / (slots_per_node * self.scale_up))
        used = 100.0 * requested / (nodes * slots_per_node)
        if used > self.scale_up:
            return math.ceil(nodes * (used - self.scale_up) / self.scale_up)
        if used < self.lower:
            return -self.fast_rate
        return -self.slow_rate if used < self.upper else 0

    def decide(self, seen: Observation, state: EscalatorState) -> tuple[Orders, EscalatorState]:
        """Add or taint by utilisation, and delete what has been tainted and empty for the grace period."""
        old = dict(state.tainted)
        tainted = {
            node.number: old.get(node.number, seen.now) for node in seen.nodes if node.phase in {"draining", "drained"}
        }
        stop = tuple(
            node.number
            for node in seen.nodes
            if node.phase == "drained" and seen.now - tainted[node.number] >= self.soft_grace
        )
        for number in stop:
            del tainted[number]
        since = seen.now - state.added_at
        locked = since < self.cool_down or (seen.booting > 0 and since < self.cool_down_timeout)
        if locked:
            return Orders(stop=stop), EscalatorState(state.added_at, tuple(tainted.items()))
        delta = self.delta(seen.waiting_slots + seen.running_slots, seen.alive, seen.slots_per_node)
        if delta > 0:
            back = tuple(sorted(tainted, reverse=True)[:delta])
            more = bounded(seen, seen.alive + delta) - seen.alive - len(back)
            for number in back:
                del tainted[number]
            added_at = seen.now if more > 0 else state.added_at
            return (
                Orders(undrain=back, request=max(0, more), stop=stop),
                EscalatorState(added_at, tuple(tainted.items())),
            )
        oldest = tuple(node.number for node in seen.nodes if node.phase == "up")[: -delta or None] if delta else ()
        tainted.update(dict.fromkeys(oldest, seen.now))
        orders = Orders(drain=oldest, stop=stop)
        if not seen.nodes:
            orders = NOTHING_TILL_SOMETHING_HAPPENS
        return orders, EscalatorState(state.added_at, tuple(tainted.items()))
