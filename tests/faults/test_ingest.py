"""Ingest workers are killed, frozen, replaced; gateways must not notice, except that it takes longer."""

from __future__ import annotations

import pytest

POINTS = ["ingest.received", "intake.copying", "intake.committing", "ingest.committed", "ingest.answered"]


@pytest.mark.fault("6", "ingest killed")
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_its_worst_moments(stage, point: str) -> None:
    scene = stage(f"at {point}")
    scene.start_edge()
    for nth in (1, 3, 6):
        worker = scene.start_worker(fail=f"{point}:kill@{nth}")
        scene.died(worker)
    scene.start_worker()
    scene.flows()
    scene.run(1.0)
    scene.drain()
    scene.judge()
