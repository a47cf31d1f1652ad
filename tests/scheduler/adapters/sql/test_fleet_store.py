"""The fleet's part of the store, in memory and in a file."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func as sql_function
from sqlalchemy import select, update

from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.fleet_schema import INPUTS, LEARNED
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.kept_decisions import KeptInputs, prune_inputs
from scheduler.autoscale.inputs import DecisionRecord, Inputs, decide_on, record_of
from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.autoscale.plan import Drain, GroupFleet, Hold, Reason, ReasonKind, ScaleOut
from scheduler.decision_document import dump_record, load_record
from scheduler.errors import CapacityErrorKind, ConflictError, MillpondError, NotFoundError, StaleLeaderError
from scheduler.model import GroupKey, GroupPriority, Node, NodeGroup, NodePhase, PoolDemand, Sample
from scheduler.policy import Limits, ScalingPolicy
from scheduler.ports.fleet_store import DELETED_BY_CLOUD, GONE_BY_ITSELF, STOPPED_BY_CLOUD, FleetStore, NodeChange
from scheduler.settings import PoolSettings, SchedulerSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OLD = GroupKey("pool", "main", "g0")
NEW = GroupKey("pool", "main", "g1")
SPARE = GroupKey("pool", "spare", "g1")


def group(key: GroupKey) -> NodeGroup:
    """Make a group."""
    return NodeGroup(key, f"set-{key.generation}", f"q-{key}", "Standard_D2s_v5", GroupPriority.SPOT, 2, 5)


def settings(*keys: GroupKey) -> SchedulerSettings:
    """Make settings with these groups in one pool."""
    pool = PoolSettings("pool", ScalingPolicy(idle_timeout=timedelta(seconds=90)), tuple(group(key) for key in keys))
    return SchedulerSettings("local", "sub", "rg", "eastus", "https://arm", "https://b/", "https://q/", "acct", (pool,))


def node(number: int = 1, phase: NodePhase = NodePhase.WORKING, key: GroupKey = NEW) -> Node:
    """Make a node that holds a message."""
    return Node(
        node_id=f"set-{key.generation}_{number}",
        group=key,
        instance_id=str(number),
        phase=phase,
        control_number=3,
        incarnation="a",
        first_seen_at=NOW,
        ready_at=NOW + SECOND,
        status_at=NOW + SECOND,
        idle_since=None,
        held=("m1", "m2"),
        reason="because",
    )


def record(at: datetime = NOW, waiting: int = 4, pool: str = "pool") -> DecisionRecord:
    """Decide for a pool without nodes that has so many waiting tasks."""
    own = replace(NEW, pool=pool)
    demand = {pool: PoolDemand(waiting, 0, 60.0, at)}
    inputs = Inputs({pool: ScalingPolicy()}, demand, (GroupFleet(group(own), (), 0),), (), at)
    return record_of(inputs, decide_on(inputs), pool)


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """Open a fresh store in each database."""
    opened = Database(store_url)
    yield opened
    opened.close()


@pytest.fixture
def epoch(database: Database) -> int:
    """Lead."""
    return database.begin_epoch()


@pytest.fixture
def store(database: Database, epoch: int) -> FleetStore:
    """Give a store in which a pool with one group is known."""
    made = SqlFleetStore(database)
    made.sync_groups(epoch, settings(NEW), NOW)
    return made


def test_settings_are_taken_up(store: FleetStore, epoch: int) -> None:
    """Groups of new settings are current in declared order; those left out stay, as retired ones."""
    store.sync_groups(epoch, settings(OLD), NOW)
    store.sync_groups(epoch, settings(SPARE, NEW), NOW + SECOND)
    assert [(each.key, each.current) for each in store.groups("pool")] == [(SPARE, True), (NEW, True), (OLD, False)]
    assert store.groups("pool")[1] == group(NEW)
    (pool,) = store.pools()
    assert [each.key for each in pool.groups] == [SPARE, NEW]
    assert pool.policy.idle_timeout == timedelta(seconds=90)
    assert store.known_pools() == ("pool",)


def test_a_store_without_settings_is_empty(database: Database) -> None:
    """Before settings are taken up nothing is known, and nothing fails."""
    fresh = SqlFleetStore(database)
    assert fresh.pools() == fresh.groups("pool") == fresh.nodes("pool") == fresh.known_pools() == ()
    assert fresh.targets("pool") == (0, 0)
    assert fresh.limits() == Limits()


def test_forgotten_groups_come_back_when_declared(store: FleetStore, epoch: int) -> None:
    """A retired group can be forgotten, a current one cannot, and settings bring a forgotten one back."""
    store.forget_group(epoch, NEW, NOW)
    assert [each.key for each in store.groups("pool")] == [NEW]
    store.sync_groups(epoch, settings(SPARE), NOW)
    store.forget_group(epoch, NEW, NOW)
    assert [each.key for each in store.groups("pool")] == [SPARE]
    store.sync_groups(epoch, settings(SPARE, NEW), NOW)
    assert [each.key for each in store.groups("pool")] == [SPARE, NEW]


def test_nodes_are_kept_whole(store: FleetStore, epoch: int) -> None:
    """A node is read as it was written, down to the microsecond."""
    written = replace(node(), idle_since=NOW + timedelta(microseconds=7))
    store.save_nodes(epoch, (written,), NOW)
    assert store.nodes("pool") == (written,)


def test_removing_is_absorbing(store: FleetStore, epoch: int) -> None:
    """Whatever is written after `removing`, the node stays so until it is gone."""
    store.save_nodes(epoch, (node(phase=NodePhase.REMOVING),), NOW)
    store.save_nodes(epoch, (node(phase=NodePhase.WORKING),), NOW)
    assert store.nodes("pool")[0].phase is NodePhase.REMOVING
    assert store.change_nodes(epoch, (NodeChange(store.nodes("pool")[0], NodePhase.WORKING, ""),), NOW) == ()
    gone = replace(node(phase=NodePhase.GONE), gone_at=NOW)
    store.save_nodes(epoch, (gone,), NOW)
    assert store.nodes("pool")[0].phase is NodePhase.GONE
    store.save_nodes(epoch, (replace(gone, phase=NodePhase.BOOTING, gone_at=None),), NOW)
    assert store.nodes("pool")[0].phase is NodePhase.REMOVING


def test_another_machine_of_the_same_name_lives_anew(store: FleetStore, epoch: int) -> None:
    """A node first seen after its namesake was gone is not being removed, yet its control number goes on."""
    store.save_nodes(epoch, (node(phase=NodePhase.REMOVING),), NOW)
    store.save_nodes(epoch, (replace(node(phase=NodePhase.GONE), gone_at=NOW + SECOND),), NOW)
    fresh = replace(node(phase=NodePhase.BOOTING), first_seen_at=NOW + 2 * SECOND, control_number=0)
    store.save_nodes(epoch, (fresh,), NOW + 2 * SECOND)
    assert store.nodes("pool") == (replace(fresh, control_number=3),)


def test_a_persons_drain_is_kept_until_the_node_is_gone(store: FleetStore, epoch: int) -> None:
    """The wish needs no epoch, outlives what the controller writes, keeps its first time, and ends with the machine."""
    store.save_nodes(epoch, (node(1), node(2)), NOW)
    (asked,) = store.ask_drain("pool", (node(1).node_id,), NOW + SECOND)
    assert asked == replace(node(1), drain_asked_at=NOW + SECOND)
    assert store.ask_drain("pool", (node(1).node_id,), NOW + 5 * SECOND) == (asked,)
    store.save_nodes(epoch, (replace(node(1), held=("m3",)),), NOW + 2 * SECOND)
    store.change_nodes(epoch, (NodeChange(store.nodes("pool")[0], NodePhase.DRAINING, "asked"),), NOW + 2 * SECOND)
    assert [each.drain_asked_at for each in store.nodes("pool")] == [NOW + SECOND, None]
    store.save_nodes(epoch, (replace(node(1, NodePhase.GONE), gone_at=NOW + 3 * SECOND),), NOW + 3 * SECOND)
    store.save_nodes(epoch, (replace(node(1), first_seen_at=NOW + 4 * SECOND),), NOW + 4 * SECOND)
    assert [each.drain_asked_at for each in store.nodes("pool")] == [None, None]


@pytest.mark.parametrize(("name", "error"), [("set-g1_9", NotFoundError), ("set-g1_2", ConflictError)])
def test_a_drain_of_a_wrong_node_drains_none(
    store: FleetStore, epoch: int, name: str, error: type[MillpondError]
) -> None:
    """A name that the pool does not have, or of a node that is gone, is told, and nothing is asked of the others."""
    store.save_nodes(epoch, (node(1), replace(node(2, NodePhase.GONE), gone_at=NOW)), NOW)
    with pytest.raises(error, match=f"{name}.*nothing was drained"):
        store.ask_drain("pool", (node(1).node_id, name), NOW)
    with pytest.raises(NotFoundError):
        store.ask_drain("other", (node(1).node_id,), NOW)
    assert store.nodes("pool")[0].drain_asked_at is None


def test_control_numbers_only_grow(store: FleetStore, epoch: int) -> None:
    """A lower control number is not written, and a new one is above the present one and the one seen."""
    store.save_nodes(epoch, (node(1), node(2)), NOW)
    store.save_nodes(epoch, (replace(node(1), control_number=1),), NOW)
    assert [each.control_number for each in store.nodes("pool")] == [3, 3]
    assert [each.control_number for each in store.next_controls(epoch, {"set-g1_1": 0, "set-g1_2": 8})] == [4, 9]
    assert [each.control_number for each in store.nodes("pool")] == [4, 9]


@pytest.mark.parametrize(
    "decided_upon",
    [
        replace(node(), phase=NodePhase.DRAINED),
        replace(node(), control_number=2),
        replace(node(), incarnation="b"),
        node(9),
    ],
    ids=["another phase", "an older control", "another incarnation", "no such node"],
)
def test_changes_are_checked_again(store: FleetStore, epoch: int, decided_upon: Node) -> None:
    """A change decided upon another row than the one that is there changes nothing."""
    store.save_nodes(epoch, (node(),), NOW)
    assert store.change_nodes(epoch, (NodeChange(decided_upon, NodePhase.REMOVING, "r"),), NOW) == ()
    assert store.nodes("pool") == (node(),)


def test_changes_take_the_next_control_number(store: FleetStore, epoch: int) -> None:
    """A change that is still valid is written with its reason and the next control number."""
    store.save_nodes(epoch, (node(),), NOW)
    (changed,) = store.change_nodes(epoch, (NodeChange(node(), NodePhase.DRAINING, "idle"),), NOW)
    assert changed == replace(node(), phase=NodePhase.DRAINING, control_number=4, reason="idle")
    assert store.nodes("pool") == (changed,)


def test_nodes_gone_for_a_day_are_left_out(store: FleetStore, epoch: int) -> None:
    """A node is listed until a day after it went."""
    early = replace(node(1, NodePhase.GONE), gone_at=NOW)
    late = replace(node(2, NodePhase.GONE), gone_at=NOW + timedelta(hours=25))
    store.save_nodes(epoch, (early,), NOW)
    assert len(store.nodes("pool")) == 1
    store.save_nodes(epoch, (late, node(3)), NOW)
    assert [each.instance_id for each in store.nodes("pool")] == ["2", "3"]


def test_failed_boots_are_counted_in_a_row(store: FleetStore, epoch: int) -> None:
    """Nodes that ended without a status count as failed boots until one becomes ready."""
    never = [replace(node(n, NodePhase.LOST), ready_at=None) for n in range(3)]
    for number, each in enumerate(never):
        store.save_nodes(epoch, (each,), NOW + number * SECOND)
        store.save_nodes(epoch, (replace(each, phase=NodePhase.REMOVING),), NOW + timedelta(hours=1))
    history = store.histories("pool")[NEW]
    assert (history.failed_boots, history.failed_boot_at) == (3, NOW + 2 * SECOND)
    store.save_nodes(epoch, (replace(node(4), ready_at=NOW + 2 * SECOND),), NOW + 2 * SECOND)
    assert store.histories("pool")[NEW].failed_boots == 0


def test_a_boot_that_was_given_up_has_not_failed(store: FleetStore, epoch: int) -> None:
    """A booting node that nobody waited for any more is no failed boot; one that is removed for another reason is."""
    booting = [replace(node(number, NodePhase.BOOTING), ready_at=None) for number in (1, 2)]
    store.save_nodes(epoch, tuple(booting), NOW)
    changes = tuple(
        NodeChange(each, NodePhase.REMOVING, "why", gives_up_boot=gives_up)
        for each, gives_up in zip(store.nodes("pool"), (True, False), strict=True)
    )
    store.change_nodes(epoch, changes, NOW + SECOND)
    gone = tuple(replace(each, phase=NodePhase.GONE, gone_at=NOW + 2 * SECOND) for each in store.nodes("pool"))
    store.save_nodes(epoch, gone, NOW + 2 * SECOND)
    assert store.histories("pool")[NEW].failed_boots == 1
    again = replace(booting[0], first_seen_at=NOW + 3 * SECOND)
    store.save_nodes(epoch, (again,), NOW + 3 * SECOND)
    store.save_nodes(epoch, (replace(again, phase=NodePhase.LOST),), NOW + 4 * SECOND)
    assert store.histories("pool")[NEW].failed_boots == 2


def test_what_pools_learn_is_kept(store: FleetStore, epoch: int, database: Database) -> None:
    """What was learned is read as it was written, by pool; nothing where nothing was, or where it cannot be read."""
    learned = observed(observed(observed(PoolHistory(), 40, NOW), 3, NOW + SECOND), 7, NOW + 90 * SECOND)
    assert store.learned("pool") == PoolHistory()
    store.record_learned(epoch, {"pool": PoolHistory(demand=1)})
    store.record_learned(epoch, {"pool": learned, "other": PoolHistory(demand=2)})
    assert (store.learned("pool"), store.learned("other")) == (learned, PoolHistory(demand=2))
    with database.write() as connection:
        connection.execute(update(LEARNED).values(history='{"demand": "many"}'))
    assert store.learned("pool") == PoolHistory()


def test_orders_and_refusals_are_kept(store: FleetStore, epoch: int) -> None:
    """A refusal is remembered with its words until the next order."""
    store.record_refusal(epoch, NEW, CapacityErrorKind.QUOTA, "no cores", NOW)
    history = store.histories("pool")[NEW]
    assert (history.refused_at, history.refused_kind, history.refused_message) == (
        NOW,
        CapacityErrorKind.QUOTA,
        "no cores",
    )
    store.record_order(epoch, NEW, NOW + SECOND)
    history = store.histories("pool")[NEW]
    assert (history.refused_at, history.refused_kind, history.ordered_at) == (None, None, NOW + SECOND)
    store.record_capacity(epoch, NEW, 4)
    assert store.capacities("pool") == {NEW: 4}


def test_refusals_in_a_row_count_until_a_node_comes(store: FleetStore, epoch: int) -> None:
    """Each refusal counts, over orders in between, and a node that is listed for the first time ends the row."""
    for number in range(3):
        store.record_order(epoch, NEW, NOW + number * SECOND)
        store.record_refusal(epoch, NEW, CapacityErrorKind.ALLOCATION, "none left", NOW + number * SECOND)
        assert store.histories("pool")[NEW].refusals == number + 1
        assert store.histories("pool")[NEW].refused_at == NOW + number * SECOND
    store.record_order(epoch, NEW, NOW + 5 * SECOND)
    assert (store.histories("pool")[NEW].refusals, store.histories("pool")[NEW].refused_at) == (3, None)
    store.save_nodes(epoch, (replace(node(), first_seen_at=NOW + 6 * SECOND),), NOW + 6 * SECOND)
    assert store.histories("pool")[NEW].refusals == 0
    store.record_refusal(epoch, NEW, CapacityErrorKind.ALLOCATION, "none left", NOW + 7 * SECOND)
    assert store.histories("pool")[NEW].refusals == 1


def test_evictions_are_told_apart_from_removals(store: FleetStore, epoch: int) -> None:
    """Nodes that the cloud took away are evictions; those that were removed, or never became ready, are none."""
    taken = replace(node(1, NodePhase.GONE), reason=GONE_BY_ITSELF, gone_at=NOW)
    deleted = replace(node(2, NodePhase.REMOVING), reason=DELETED_BY_CLOUD)
    removed = replace(node(3, NodePhase.GONE), reason="drained: nothing runs on it", gone_at=NOW)
    never_ready = replace(node(4, NodePhase.GONE), reason=GONE_BY_ITSELF, gone_at=NOW, ready_at=None)
    store.save_nodes(epoch, (deleted, removed, never_ready, node(5)), NOW + SECOND)
    store.save_nodes(epoch, (taken,), NOW + 2 * SECOND)
    assert store.histories("pool")[NEW].evicted_at == (NOW + SECOND, NOW + 2 * SECOND)
    stopped = replace(node(6, NodePhase.LOST), reason=STOPPED_BY_CLOUD)
    store.save_nodes(epoch, (stopped,), NOW + 3 * SECOND)
    store.change_nodes(epoch, (NodeChange(stopped, NodePhase.REMOVING, "lost"),), NOW + 4 * SECOND)
    assert store.histories("pool")[NEW].evicted_at == tuple(NOW + second * SECOND for second in (1, 2, 3))


def test_limits_are_taken_up_with_the_settings(store: FleetStore, epoch: int) -> None:
    """What all pools share is what the newest settings say; none without settings."""
    limits = Limits({"cores": 8}, 1.5)
    store.sync_groups(epoch, replace(settings(NEW), limits=limits), NOW)
    assert store.limits() == limits


def test_repeated_decisions_are_one_entry(store: FleetStore, epoch: int) -> None:
    """A decision that repeats its group's newest is left out; an order is always kept."""
    hold = Hold(NEW, Reason(ReasonKind.ENOUGH, "1 node"))
    same = Hold(NEW, Reason(ReasonKind.ENOUGH, "2 nodes"))
    other = Hold(NEW, Reason(ReasonKind.NO_WORK, "nothing"))
    drain = Drain(NEW, ("a",), Reason(ReasonKind.IDLE, "idle"))
    order = ScaleOut(NEW, 2, Reason(ReasonKind.BACKLOG, "work"))
    assert len(store.record_decisions(epoch, (hold, same), NOW)) == 1
    assert len(store.record_decisions(epoch, (same, other, hold), NOW)) == 2
    assert len(store.record_decisions(epoch, (drain, drain, replace(drain, nodes=("b",))), NOW)) == 2
    assert len(store.record_decisions(epoch, (order, order), NOW)) == 2
    kept = store.decisions("pool", 100)
    assert [each.action for each in kept] == ["hold", "hold", "hold", "drain", "drain", "scale_out", "scale_out"]
    assert (kept[3].nodes, kept[3].count, kept[6].count, kept[0].reason) == (("a",), 1, 2, "1 node")
    assert store.decisions("pool", 2) == kept[-2:]


def test_inputs_are_kept_once_a_step_and_pool(store: FleetStore, epoch: int) -> None:
    """Decisions of an instant share the first document; the newest come oldest first, up to an instant."""
    hold = Hold(SPARE, Reason(ReasonKind.OTHER_GROUP, "main gives"))
    order = ScaleOut(NEW, 2, Reason(ReasonKind.BACKLOG, "work"))
    first = record()
    store.record_decisions(epoch, (order,), NOW)
    store.record_inputs(epoch, first)
    store.record_decisions(epoch, (hold,), NOW)
    store.record_inputs(epoch, record(waiting=9))
    store.record_decisions(epoch, (order,), NOW + SECOND)
    store.record_inputs(epoch, record(NOW + SECOND))
    store.record_inputs(epoch, record(pool="other"))
    both = store.kept_decisions("pool", 9)
    assert [[each.action for each in kept.decisions] for kept in both] == [["scale_out", "hold"], ["scale_out"]]
    assert load_record(both[0].document) == first
    assert both[0].document.encode() == dump_record(first)
    assert store.kept_decisions("pool", 1) == both[1:]
    assert store.kept_decisions("pool", 9, NOW + SECOND / 2) == both[:1]
    assert store.kept_decisions("pool", 9, NOW - SECOND) == ()


def test_inputs_are_kept_as_changes(database: Database, store: FleetStore, epoch: int) -> None:
    """What follows the first document takes little and is read back whole; another process begins a chain."""
    records = [record(NOW + second * SECOND, waiting=3 + second) for second in range(4)]
    for each in records:
        store.record_inputs(epoch, each)
    other = SqlFleetStore(database)
    for each in [record(NOW + second * SECOND, waiting=3 + second) for second in range(4, 7)]:
        records.append(each)
        other.record_inputs(epoch, each)
    # The first store knows an older document than the newest, so it begins a chain.
    records.append(record(NOW + 7 * SECOND, waiting=12))
    store.record_inputs(epoch, records[-1])
    assert [load_record(kept.document) for kept in store.kept_decisions("pool", 9)] == records
    assert [load_record(kept.document) for kept in store.kept_decisions("pool", 2, NOW + 5 * SECOND)] == records[4:6]
    with database.read() as connection:
        query = select(INPUTS.c.size, sql_function.substr(INPUTS.c.document, 1, 1)).order_by(INPUTS.c.at)
        sizes, begins = zip(*(tuple(row) for row in connection.execute(query)), strict=True)
    assert [begin == b"+" for begin in begins] == [False, True, True, True, False, True, True, False]
    assert sizes[1] < sizes[0] / 2


def test_a_chain_of_changes_ends(store: FleetStore, database: Database, epoch: int) -> None:
    """After a hundred changes a document is whole again."""
    for second in range(103):
        store.record_inputs(epoch, record(NOW + second * SECOND))
    with database.read() as connection:
        begins = connection.execute(
            select(sql_function.substr(INPUTS.c.document, 1, 1)).order_by(INPUTS.c.at)
        ).scalars()
        assert [place for place, begin in enumerate(begins) if begin != b"+"] == [0, 101]


def test_a_document_that_was_not_kept_is_no_base(store: FleetStore, database: Database, epoch: int) -> None:
    """What a transaction wrote that failed is not counted on."""
    inputs = KeptInputs()

    def fail() -> None:
        with database.lead(epoch) as connection:
            inputs.keep(connection, record())
            raise ConflictError("later")

    with pytest.raises(ConflictError):
        fail()
    with database.lead(epoch) as connection:
        inputs.keep(connection, record(NOW + SECOND))
    assert [load_record(kept.document) for kept in store.kept_decisions("pool", 9)] == [record(NOW + SECOND)]


def test_inputs_are_bounded(database: Database, store: FleetStore, epoch: int) -> None:
    """Chains go a month after they began, and a pool's oldest when there are too many bytes; its newest stays."""
    for second in range(4):
        # Each store begins a chain, of two.
        each = SqlFleetStore(database)
        each.record_inputs(epoch, record(NOW + 2 * second * SECOND))
        each.record_inputs(epoch, record(NOW + (2 * second + 1) * SECOND, waiting=8))
    store.record_inputs(epoch, record(pool="other"))

    def kept(pool: str) -> list[int]:
        return [(each.at - NOW).seconds for each in store.kept_decisions(pool, 9)]

    with database.lead(epoch) as connection:
        prune_inputs(connection, NOW)
        sizes = list(connection.execute(select(INPUTS.c.size).where(INPUTS.c.pool == "pool")).scalars())
    assert kept("pool") == [0, 1, 2, 3, 4, 5, 6, 7]
    with database.lead(epoch) as connection:
        prune_inputs(connection, NOW, most_bytes=sum(sizes) * 5 // 8)
    assert (kept("pool"), kept("other")) == ([4, 5, 6, 7], [0])
    store.prune(epoch, NOW + timedelta(days=40))
    assert (kept("pool"), kept("other")) == ([6, 7], [0])


def test_boots_are_measured(store: FleetStore, epoch: int) -> None:
    """The boot time is the median of the newest nine, from being listed to the first status."""
    assert store.histories("pool")[NEW].boot_time is None
    for number in range(12):
        # The oldest three took very long.
        took = (1000 if number < 3 else 60 + number) * SECOND
        ready_at = NOW + timedelta(hours=number)
        store.save_nodes(epoch, (replace(node(number), first_seen_at=ready_at - took, ready_at=ready_at),), ready_at)
    assert store.histories("pool")[NEW].boot_time == 67 * SECOND


def test_what_is_old_is_pruned(store: FleetStore, epoch: int) -> None:
    """Decisions and samples go after a month, gone nodes after a week; a group's newest decision stays."""
    hold = Hold(NEW, Reason(ReasonKind.ENOUGH, "1 node"))
    store.record_decisions(epoch, (ScaleOut(NEW, 2, Reason(ReasonKind.BACKLOG, "work")), hold), NOW)
    store.record_sample(epoch, Sample(NOW, "pool", 1, 2, 3, 2, 1))
    store.save_nodes(epoch, (replace(node(1, NodePhase.GONE), gone_at=NOW), node(2)), NOW)
    store.prune(epoch, NOW + timedelta(days=6))
    assert (len(store.nodes("pool")), len(store.decisions("pool", 9)), len(store.samples("pool", 9))) == (2, 2, 1)
    store.prune(epoch, NOW + timedelta(days=8))
    assert [each.instance_id for each in store.nodes("pool")] == ["2"]
    store.prune(epoch, NOW + timedelta(days=31))
    assert [each.action for each in store.decisions("pool", 9)] == ["hold"]
    assert store.samples("pool", 9) == ()


def test_samples_are_thinned(store: FleetStore, epoch: int) -> None:
    """A sample that repeats the newest is kept only every 15 s; the newest gives target and current nodes."""
    sample = Sample(NOW, "pool", 1, 2, 3, 2, 1)
    for second in range(31):
        store.record_sample(epoch, replace(sample, at=NOW + second * SECOND))
    store.record_sample(epoch, replace(sample, at=NOW + 31 * SECOND, target_nodes=4))
    kept = store.samples("pool", 100)
    assert [(each.at - NOW).seconds for each in kept] == [0, 15, 30, 31]
    assert kept[0] == sample
    assert store.targets("pool") == (4, 2)


def test_an_old_leader_writes_nothing(store: FleetStore, database: Database, epoch: int) -> None:
    """Once a later epoch has begun, every write of the old one fails and changes nothing."""
    store.save_nodes(epoch, (node(),), NOW)
    database.begin_epoch()
    action = Hold(NEW, Reason(ReasonKind.ENOUGH, "s"))
    for write in (
        lambda: store.sync_groups(epoch, settings(OLD), NOW),
        lambda: store.save_nodes(epoch, (node(2),), NOW),
        lambda: store.change_nodes(epoch, (NodeChange(node(), NodePhase.DRAINING, ""),), NOW),
        lambda: store.next_controls(epoch, {"set-g1_1": 0}),
        lambda: store.record_capacity(epoch, NEW, 9),
        lambda: store.record_order(epoch, NEW, NOW),
        lambda: store.record_refusal(epoch, NEW, CapacityErrorKind.SKU, "", NOW),
        lambda: store.record_decisions(epoch, (action,), NOW),
        lambda: store.record_inputs(epoch, record()),
        lambda: store.record_sample(epoch, Sample(NOW, "pool", 0, 0, 0, 0, 0)),
        lambda: store.forget_group(epoch, NEW, NOW),
    ):
        with pytest.raises(StaleLeaderError):
            write()
    assert store.nodes("pool") == (node(),)
    assert [each.key for each in store.groups("pool")] == [NEW]
    assert store.decisions("pool", 1) == store.samples("pool", 1) == store.kept_decisions("pool", 1) == ()
