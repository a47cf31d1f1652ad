"""The wait for what a program has set going."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime.settings import SETTINGS

from infra.local.language.run_program import Settling


@given(st.lists(st.integers(0, 3), max_size=12))
def test_the_wait_ends_when_all_has_ended(delays: list[int]) -> None:
    """Everything under way has ended afterwards, also what was set going by something of it."""

    async def run() -> int:
        ended = 0

        async def work(steps: int) -> None:
            nonlocal ended
            for _ in range(steps):
                await asyncio.sleep(0)
            if steps:
                track(steps - 1)
            ended += 1

        def track(steps: int) -> None:
            """Do as the SDK does: what has ended well is no longer among the outputs."""
            task = asyncio.ensure_future(work(steps))
            SETTINGS.outputs.add(task)
            task.add_done_callback(SETTINGS.outputs.discard)

        SETTINGS.outputs = set()
        for steps in delays:
            track(steps)
        await asyncio.wait_for(Settling().wait(), 10)
        return ended

    assert asyncio.run(run()) == sum(steps + 1 for steps in delays)


def test_the_wait_ends_with_the_first_failure() -> None:
    """What never ends does not hide that something has failed."""

    async def run() -> None:
        async def fail() -> None:
            await asyncio.sleep(0)
            raise ValueError("refused")

        failing, endless = asyncio.ensure_future(fail()), asyncio.ensure_future(asyncio.sleep(1000))
        SETTINGS.outputs = {failing, endless}
        await asyncio.wait_for(Settling().wait(), 10)
        endless.cancel()
        with pytest.raises(ValueError, match="refused"):
            await failing

    asyncio.run(run())
