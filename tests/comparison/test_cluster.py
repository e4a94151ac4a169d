"""Trials as tasks of a real local Ray: the rows of a serial start, whatever is lost on the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from likewise.comparison.cluster import Cluster
from likewise.errors import Interrupted, RunError
from likewise.events import Noted, TrialEnded
from tests.bases import pictures
from tests.comparison import test_pool
from tests.comparison.mishaps import losing
from tests.comparison.plans import Done, rows_of
from tests.comparison.test_pool import made, posix, same, taken
from tests.metrics.judges import panel

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
one_thread = test_pool.one_thread


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two cores, whatever the machine has; processes of Ray find the package where this one does."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    yield
    ray.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    root = tmp_path_factory.mktemp("cluster")
    source = pictures(root / "owls", 6)
    return Done(source, root / "out", list(made(source, root / "out").start(judges=panel())))


def test_a_cluster_gives_the_rows_of_one_process(cluster: None, done: Done, tmp_path: Path) -> None:
    events = list(made(done.source, tmp_path / "out", Cluster("ray")).start(judges=panel()))
    same(tmp_path / "out", done)
    assert len([event for event in events if isinstance(event, TrialEnded)]) == len(done.rows())
    machines = [row.machine for row in rows_of(tmp_path / "out").values() if row.kind == "method"]
    assert {(one["side_by_side"], one["threads"]) for one in machines} == {(2, 1)}


@posix
def test_a_lost_process_loses_nothing(cluster: None, done: Done, tmp_path: Path) -> None:
    (mark := tmp_path / "lost").mkdir()
    executor = Cluster("ray", work=losing("dreambooth-0", 2, str(mark)))
    events = list(made(done.source, tmp_path / "out", executor).start(judges=panel()))
    same(tmp_path / "out", done)
    notes = [event.text for event in events if isinstance(event, Noted) and "is done again" in event.text]
    assert len(notes) == 1
    assert taken(tmp_path / "out", "dreambooth-0") == [1, 2, 2, 3], (
        "the step that was not saved is done again"
    )


def test_a_stop_is_heeded_and_a_start_goes_on(cluster: None, done: Done, tmp_path: Path) -> None:
    comparison = made(done.source, tmp_path / "out", Cluster("ray"))

    def stop_at_the_first_end() -> None:
        for event in comparison.start(judges=panel()):
            if isinstance(event, TrialEnded):
                comparison.stop()

    with pytest.raises(Interrupted):
        stop_at_the_first_end()
    list(made(done.source, tmp_path / "out", Cluster("ray")).start(judges=panel()))
    same(tmp_path / "out", done)
    for name in ("dreambooth-0", "dreambooth-1", "lora-0", "lora-1"):
        assert taken(tmp_path / "out", name) == [1, 2, 3], "no step is done twice"


def test_an_address_without_a_ray_is_one_line(cluster: None) -> None:
    ray.shutdown()
    with pytest.raises(RunError, match="there is no Ray at ray://127") as told:
        Cluster("ray://127.0.0.1:1")
    assert "\n" not in str(told.value)


@posix
@pytest.mark.slow
def test_a_computer_that_is_lost_loses_nothing(done: Done, tmp_path: Path) -> None:
    """Two nodes of one core, of which the second is killed amid a training."""
    from ray.cluster_utils import Cluster as Nodes

    ray.shutdown()
    (mark := tmp_path / "lost").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            nodes.add_node(num_cpus=1)
            ray.init(address=nodes.address, logging_level="error", log_to_driver=False)
            work = losing("", 2, str(mark), ray.get_runtime_context().get_node_id())
            executor = Cluster(nodes.address, work=work)
            assert (executor.beside, "2 computers" in executor.note) == (1, True)
            events = list(made(done.source, tmp_path / "out", executor).start(judges=panel()))
        finally:
            ray.shutdown()
            nodes.shutdown()
    same(tmp_path / "out", done)
    (lost,) = mark.iterdir()
    assert any(isinstance(event, Noted) and "is done again" in event.text for event in events)
    assert taken(tmp_path / "out", lost.name) == [1, 2, 2, 3], "the step that was not saved is done again"
