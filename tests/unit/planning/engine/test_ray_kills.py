"""The operator is killed at any write of a training under KubeRay: it ends as it would have without.

What the next process knows is what the API has: pods that KubeRay deleted meanwhile are forgotten.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.planning.engine.test_ray_runs import RAY, end
from tests.unit.planning.examples import finished_blend, make_finetune
from tests.unit.planning.world import MAX_ROUNDS, World

from safety_operator.cluster.ray_jobs import record_in_words
from safety_operator.planning.safety_finetune import training_stages
from safety_operator.state.labels import ANNOTATION_ATTEMPT, ANNOTATION_ENDED, ANNOTATION_HASH
from safety_operator.state.observed import EndedPods, PodFailure
from safety_operator.state.plan import Plan
from safety_operator.state.reading import annotation, is_true
from safety_records.result import FailureClass, StageFailure, StageResult

Happening = Callable[[World], None]
"""What others than the operator do; to be told again to a process that comes anew."""
MOST_WRITES = 60


@pytest.fixture(autouse=True)
def _on_kuberay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_stages, "training_shape", lambda *_, **__: RAY)


def ray_jobs(world: World) -> list[dict[str, Any]]:
    return [child for key, child in world.children.items() if key.kind == "RayJob"]


def newest(world: World) -> dict[str, Any]:
    """The RayJob of the newest try."""
    return max(ray_jobs(world), key=lambda job: int(job["metadata"]["annotations"][ANNOTATION_ATTEMPT]))


def starts(_: World) -> None:
    """The RayJob is made."""


def runs(world: World) -> None:
    newest(world)["status"] = {"seen": True, "submitted": True, "ready": 2}


def on_first(happening: Happening) -> Happening:
    """Of the first try only: a process that comes later finds it over."""

    def only(world: World) -> None:
        if len(ray_jobs(world)) == 1 and newest(world)["metadata"]["annotations"][ANNOTATION_ATTEMPT] == "1":
            happening(world)

    return only


def head_is_lost(world: World) -> None:
    world.headless = frozenset({newest(world)["metadata"]["name"]})


def node_is_lost(world: World) -> None:
    job = newest(world)
    end(job, "Failed", reason="AppFailed", message="its words")
    failure = StageFailure(failure=FailureClass.INFRASTRUCTURE, reason="RayNodeLost", message="1 of 2 nodes")
    digest = job["metadata"]["annotations"][ANNOTATION_HASH]
    world.results[job["metadata"]["name"]] = StageResult(stage="train", inputs_hash=digest, failure=failure)


def ran_well(world: World) -> None:
    for job in ray_jobs(world):
        end(job, "Complete")


def record_is_told(world: World) -> None:
    jobs = [child for key, child in world.children.items() if key.kind == "Job" and "-train-" in key.name]
    if any("conditions" not in job.get("status", {}) for job in jobs):
        world.succeed("train")


def head_is_too_small(world: World) -> None:
    """Until the RayJob is ended KubeRay makes heads, which are killed."""
    job = newest(world)
    job["status"] = {"seen": True}
    if not annotation(job, ANNOTATION_ENDED):
        world.failures[job["metadata"]["name"]] = PodFailure("head", "worker", 137, "OOMKilled", "")


def heads_crash(world: World) -> None:
    job = newest(world)
    job["status"] = {"seen": True}
    if not annotation(job, ANNOTATION_ENDED):
        last = PodFailure("head-3", "worker", 1, "Error", "no ray")
        world.ended[job["metadata"]["name"]] = EndedPods(3, 0, last)


def kuberay_ends_it(world: World) -> None:
    job = newest(world)
    if annotation(job, ANNOTATION_ENDED):
        end(job, "Failed", reason="DeadlineExceeded", message="has passed")
        forget(world)


def suspended(world: World) -> None:
    if not world.resource["spec"].get("suspend"):
        world.edit(suspend=True)


def resumed(world: World) -> None:
    if world.resource["spec"].get("suspend"):
        world.edit(suspend=False)


END = (runs, ran_well, record_is_told)
STORIES: dict[str, Sequence[Happening]] = {
    "its head is lost": (runs, on_first(head_is_lost), *END),
    "a node is lost": (runs, on_first(node_is_lost), *END),
    "it is suspended": (runs, suspended, resumed, *END),
    "its head is too small": (head_is_too_small, kuberay_ends_it),
    "its head ends again and again": (heads_crash, kuberay_ends_it),
}


def forget(world: World) -> None:
    """What no API server has."""
    world.failures.clear()
    world.ended.clear()


def learn(world: World) -> None:
    """Records that the API has, as gathering finds them."""
    for job in ray_jobs(world):
        found = record_in_words(job)
        if found is not None:
            world.results[job["metadata"]["name"]] = found


class Process:
    """Carries out plans, and is killed once before the write of a number, counted from 0.

    As ``cluster.apply`` has it, nothing is deleted before all is applied, in no order within either.
    """

    def __init__(self, kill_at: int, *, backwards: bool) -> None:
        self._left, self._backwards = kill_at, backwards

    @property
    def was_killed(self) -> bool:
        return self._left < 0

    def carry_out(self, world: World, made: Plan) -> bool:
        """Whether anything changed. Killed, it leaves the rest undone; the status comes last."""
        before = world.status
        writes = self._due(world, made)
        if self.was_killed or self._left > len(writes):
            self._left -= 0 if self.was_killed else len(writes) + (made.status != before)
            return world.carry_out(made)
        done, self._left = writes[: self._left], -1
        apply = tuple(child for child in made.apply if ("apply", name_of(child.manifest)) in done)
        delete = tuple(key for key in made.delete if ("delete", key.name) in done)
        world.carry_out(replace(made, apply=apply, delete=delete, status=before, events=()))
        forget(world)
        return True

    def _due(self, world: World, made: Plan) -> list[tuple[str, str]]:
        there = {key.name for key in world.children}
        apply = [("apply", name_of(child.manifest)) for child in made.apply]
        delete = [("delete", key.name) for key in made.delete if key.name in there]
        order = -1 if self._backwards else 1
        return apply[::order] + delete[::order]


def name_of(manifest: Any) -> str:
    return str(manifest["metadata"]["name"])


def play(story: Sequence[Happening], process: Process) -> World:
    """What a story comes to; a happening is seen again by a process that comes anew."""
    world = make_finetune(queueName="gpus", compute={"launcher": "kuberay"})
    world.refer("SafetyBlend", "blend", finished_blend())
    world.settle()
    world.succeed("fetch")
    for happening in (starts, *story):
        happening(world)
        for _ in range(MAX_ROUNDS):
            learn(world)
            killed = process.was_killed
            changed = process.carry_out(world, world.plan())
            check_one_trains(world)
            if killed != process.was_killed:
                happening(world)
            elif not changed:
                break
        else:
            raise AssertionError("the planner never comes to rest")
    return world


def check_one_trains(world: World) -> None:
    """No two clusters write into the same checkpoints."""
    alive = [
        job["metadata"]["name"]
        for job in ray_jobs(world)
        if not any(is_true(job, type_) for type_ in ("Complete", "Failed"))
    ]
    assert len(set(alive) - world.headless) <= 1, alive


def end_of(world: World) -> Any:
    return world.status, sorted(world.children)


@pytest.mark.parametrize(
    ("title", "reason", "backwards"),
    [
        ("its head is lost", "Completed", False),
        ("a node is lost", "Completed", True),
        ("it is suspended", "Completed", False),
        ("its head is too small", "OutOfMemory", False),
        ("its head ends again and again", "RayCannotStart", True),
    ],
)
def test_a_kill_at_any_write_changes_no_end(title: str, reason: str, *, backwards: bool):
    story = STORIES[title]
    world = play(story, Process(10_000, backwards=backwards))
    assert world.condition("Ready")["reason"] == reason
    whole = end_of(world)
    for number in range(MOST_WRITES):
        process = Process(number, backwards=backwards)
        assert end_of(play(story, process)) == whole, f"killed before write {number}"
        if not process.was_killed:
            break
    assert 4 < number < MOST_WRITES, "each write was the last one once"
