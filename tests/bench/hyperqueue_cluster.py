"""HyperQueue's side of "overhead": one server and two workers of one cpu in this process (its LocalCluster, in Rust).

From submitting the job until it has ended; each task has a directory of its own, and its stdout and stderr are files.
What the server knows is in its memory. Its client looks for the end once a second. Nothing else is imported here: what
starts a process copies page tables, so a large parent would make it slow.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

from tests.bench.side import Prepared, main

NODES = 2
COMMAND = "true"


def hyperqueue(size: int, folder: Path) -> Prepared:
    """Run as many tasks of one job."""
    opened = ExitStack()
    cluster = opened.enter_context(LocalCluster(str(folder / "server")))
    for _ in range(NODES):
        cluster.start_worker(WorkerConfig(cores=1))
    client = cluster.client()
    files = folder / "work"
    files.mkdir()

    def work() -> None:
        job = Job(default_workdir=files)
        for _ in range(size):
            job.program([COMMAND], task_dir=True)
        client.wait_for_jobs([client.submit(job)])

    def check() -> None:
        assert len(list(files.glob("*.stdout"))) == size

    return Prepared(work, size, check, end=opened.close)


VARIANTS: Mapping[str, Callable[[int, Path], Prepared]] = {"overhead": hyperqueue}

if __name__ == "__main__":
    main(VARIANTS)
