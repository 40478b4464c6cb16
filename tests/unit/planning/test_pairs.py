"""Planners by pairs of files: tests/data/<kind>/input/<case>.yaml tells a story, output/ holds its last plan.

An input holds the resource, what is around it, and ``steps``: what pods and people do, one after another,
with the planner acting in between. After a change on purpose run
``UPDATE_GOLDEN=1 pytest tests/unit/planning`` and read the difference. With ``manifests: true`` the output
holds the children in full, else only their names.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.planning.world import World, digest_of

from safety_operator.state.labels import LABEL_ROLE
from safety_operator.state.plan import Plan
from safety_records.judges import JUDGE_TYPES
from safety_records.result import Counts, Drift, Proof, RailsEffect, Score, Screening, Training

DATA = Path(__file__).parents[2] / "data"
KINDS = ("safety-eval", "safety-blend", "safety-finetune", "guarded-deployment")
CASES = sorted(path for kind in KINDS for path in (DATA / kind / "input").glob("*.yaml"))


@pytest.fixture(autouse=True)
def steady_edition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules of judges change more often than plans do, and a plan's names hold their edition."""
    other = replace(JUDGE_TYPES["refusal-phrases"], edition="edition")
    monkeypatch.setitem(JUDGE_TYPES, "refusal-phrases", other)


class Plain(yaml.SafeDumper):
    """YAML without anchors, since people read it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


RECORDS: dict[str, Any] = {
    "training": Training,
    "proof": Proof,
    "screening": Screening,
    "rails": RailsEffect,
}
LISTS: dict[str, Any] = {"scores": Score, "counts": Counts, "drift": Drift}


def build_world(story: dict[str, Any]) -> World:
    world = World(story["resource"])
    world.config_maps = {item["metadata"]["name"]: item for item in story.get("configMaps", [])}
    world.secrets = story.get("secrets", {})
    world.claims = {name: {} for name in story.get("claims", ["safety-artifacts"])}
    for manifest in story.get("references", []):
        world.refer(manifest["kind"], manifest["metadata"]["name"], manifest)
    return world


def _fail(world: World, said: dict[str, Any]) -> None:
    world.fail(**{"input_" if key == "input" else key: value for key, value in said.items()})


VERBS: dict[str, Callable[[World, Any], object]] = {
    "succeed": lambda world, said: world.succeed(**{key: _record(key, value) for key, value in said.items()}),
    "progress": lambda world, said: world.start(**said),
    "fail": _fail,
    "cannotStart": lambda world, said: world.cannot_start(**said),
    "serve": lambda world, said: [world.serve(role) for role in said],
    "crash": lambda world, said: world.crash(**said),
    "wait": lambda world, said: world.wait(said),
    "edit": lambda world, said: world.edit(**said),
    "refer": lambda world, said: world.refer(said["kind"], said["metadata"]["name"], said),
}
"""What can happen in a step of a story."""


def _record(key: str, value: Any) -> Any:
    if key in RECORDS:
        return RECORDS[key].model_validate(value)
    if key in LISTS:
        return tuple(LISTS[key].model_validate(item) for item in value)
    return value


def tell(story: dict[str, Any]) -> dict[str, Any]:
    """The last plan of a story that changes something, as an output file holds it."""
    world = build_world(story)
    for step in story.get("steps", []):
        world.settle()
        ((verb, said),) = step.items()
        VERBS[verb](world, said)
    first = world.plan()
    world.carry_out(first)
    world.settle()
    return describe(first, world, manifests=story.get("manifests", False))


def describe(made: Plan, world: World, *, manifests: bool) -> dict[str, Any]:
    return {
        "apply": [_full(c.manifest) if manifests else _name(c.manifest) for c in made.apply],
        "delete": [f"{key.kind}/{key.name}" for key in made.delete],
        "events": [f"{event.type} {event.reason}: {event.message}" for event in made.events],
        "requeueAfter": made.requeue_after,
        "status": dict(made.status) | {"stages": [_stage(stage) for stage in made.status["stages"]]},
        "thenExist": sorted(
            f"{key.kind}/{child['metadata']['labels'][LABEL_ROLE]}" for key, child in world.children.items()
        ),
    }


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage's entry; its record is what the story said."""
    return {key: "(record)" if key == "result" else value for key, value in stage.items() if value}


def _full(manifest: Any) -> dict[str, Any]:
    """The manifest; code inside a ConfigMap is tested elsewhere and only named here."""
    if manifest["kind"] != "ConfigMap":
        return dict(manifest)
    data = {key: "(code)" if key.endswith(".py") else text for key, text in manifest["data"].items()}
    return dict(manifest) | {"data": data}


def _name(manifest: Any) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parts[-3]}/{path.stem}" for path in CASES])
def test_the_plan_of_a_story_is_as_written(path: Path):
    story = yaml.safe_load(path.read_text().replace("DIGEST-OF-PRODUCT", digest_of("product")))
    got = tell(story)
    wanted = path.parents[1] / "output" / path.name
    text = yaml.dump(got, Dumper=Plain, sort_keys=False, width=110, allow_unicode=True)
    if os.environ.get("UPDATE_GOLDEN"):
        wanted.parent.mkdir(exist_ok=True)
        wanted.write_text(text)
    assert yaml.safe_load(text) == yaml.safe_load(wanted.read_text())


def test_every_output_has_an_input():
    outputs = {path for kind in KINDS for path in (DATA / kind / "output").glob("*.yaml")}
    assert outputs == {path.parents[1] / "output" / path.name for path in CASES}
