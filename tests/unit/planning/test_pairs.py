"""Whole lives by pairs of files: tests/data/<kind>/input/<case>.yaml tells a story, output/ what came of it.

An input holds the resource, what is around it, and ``steps``: what pods do, one after another, with the
planner acting in between. An output holds every manifest that was applied in the course of it, all events,
and the last status. What a single decision is about has a test of its own; these are for what nobody thought
of. After a change on purpose run ``UPDATE_GOLDEN=1 pytest tests/unit/planning`` and read the difference.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.planning.world import World, digest_of

from safety_operator.children import server_files
from safety_operator.state.labels import LABEL_ROLE
from safety_records.judges import JUDGE_TYPES
from safety_records.result import Counts, Proof, RailsEffect, Score, ScreeningResult, Training

DATA = Path(__file__).parents[2] / "data"
CASES = sorted(DATA.glob("*/input/*.yaml"))


@pytest.fixture(autouse=True)
def steady_edition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules of judges, and servers' files, change more often than plans do, and names hold their hash."""
    other = replace(JUDGE_TYPES["refusal-phrases"], edition="edition")
    monkeypatch.setitem(JUDGE_TYPES, "refusal-phrases", other)
    monkeypatch.setattr(server_files, "read_sources", lambda: dict.fromkeys(server_files.FILES, "..."))


class Plain(yaml.SafeDumper):
    """YAML without anchors, since people read it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


RECORDS: dict[str, Any] = {
    "training": Training,
    "proof": Proof,
    "screening": ScreeningResult,
    "rails": RailsEffect,
}
LISTS: dict[str, Any] = {"scores": Score, "counts": Counts}


def build_world(story: dict[str, Any]) -> World:
    world = World(story["resource"])
    world.config_maps = {item["metadata"]["name"]: item for item in story.get("configMaps", [])}
    for manifest in story.get("references", []):
        world.refer(manifest["kind"], manifest["metadata"]["name"], manifest)
    return world


def take(world: World, step: dict[str, Any]) -> None:
    """One step of a story: servers become ready, or the pod of a stage leaves its record."""
    for role in step.get("serve", []):
        world.serve(role)
    if "succeed" in step:
        world.succeed(**{key: _record(key, value) for key, value in step["succeed"].items()})


def _record(key: str, value: Any) -> Any:
    if key in RECORDS:
        return RECORDS[key].model_validate(value)
    if key in LISTS:
        return tuple(LISTS[key].model_validate(item) for item in value)
    return value


def tell(story: dict[str, Any]) -> dict[str, Any]:
    """What came of a story, as an output file holds it."""
    world = build_world(story)
    made = world.settle()
    for step in story["steps"]:
        take(world, step)
        made = world.settle()
    return {
        "applied": list(world.applied.values()),
        "events": [f"{event.type} {event.reason}: {event.message}" for event in world.events],
        "requeueAfter": made.requeue_after,
        "status": world.status | {"stages": [_stage(stage) for stage in world.status["stages"]]},
        "remain": sorted(
            f"{key.kind}/{child['metadata']['labels'][LABEL_ROLE]}" for key, child in world.children.items()
        ),
    }


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage's entry; its record is what the story says."""
    return {key: "(record)" if key == "result" else value for key, value in stage.items()}


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parts[-3]}/{path.stem}" for path in CASES])
def test_what_comes_of_a_story_is_as_written(path: Path):
    story = yaml.safe_load(path.read_text().replace("DIGEST-OF-PRODUCT", digest_of("product")))
    got = tell(story)
    wanted = path.parents[1] / "output" / path.name
    text = yaml.dump(got, Dumper=Plain, sort_keys=False, width=110, allow_unicode=True)
    if os.environ.get("UPDATE_GOLDEN"):
        wanted.write_text(text)
    assert yaml.safe_load(text) == yaml.safe_load(wanted.read_text())


def test_every_output_has_an_input():
    assert {path.parents[1] / "output" / path.name for path in CASES} == set(DATA.glob("*/output/*.yaml"))
