"""What holds for every plan: it is total, comes to rest, never argues with itself and keeps the schema."""

import copy
import functools

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.unit.planning.lives import LIVES, live
from tests.unit.planning.world import SETTINGS, START

from safety_operator.api.kinds import KIND_BY_NAME
from safety_operator.planning.dispatch import needs, plan
from safety_operator.state.keys import ObjectKey
from safety_operator.state.observed import Observed, PodFailure

SCALARS = st.none() | st.booleans() | st.integers(-5, 99) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
ANY = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)
"""Without shrinking: worlds are large, and the traceback says enough."""


def paths_of(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_of(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths_of(inner, (*path, index))


def choose(data, values):
    """One of the values, by its place: what hypothesis draws it also prints, and worlds are large."""
    found = list(values)
    return found[data.draw(st.integers(0, len(found) - 1))]


def replaced(value, path, new):
    found = copy.deepcopy(value)
    if not path:
        return new
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return found


@pytest.mark.parametrize("kind", sorted(LIVES))
def test_a_plan_carried_out_leaves_nothing_to_do(kind):
    for world in live(kind):
        world.settle()
        before = copy.deepcopy(world.children)
        again = world.plan()
        assert again.delete == ()
        assert again.events == ()
        assert dict(again.status) == world.status
        world.carry_out(again)
        assert world.children == before


@pytest.mark.parametrize("kind", sorted(LIVES))
def test_a_plan_is_a_function_and_changes_nothing_it_is_given(kind):
    for world in live(kind):
        observed = world.observe()
        before = copy.deepcopy(observed)
        assert plan(observed, SETTINGS, world.now) == plan(observed, SETTINGS, world.now)
        assert observed == before


def check_status(kind, status):
    """It fits the schema, says how things stand, and nothing that contradicts itself."""
    KIND_BY_NAME[kind].status.model_validate(status)
    conditions = {item["type"]: item["status"] for item in status["conditions"]}
    assert {"Ready", "Reconciling", "Stalled"} <= set(conditions)
    assert not (conditions["Reconciling"] == conditions["Stalled"] == "True")
    assert not (conditions["Ready"] == conditions["Reconciling"] == "True")
    assert not (conditions["Ready"] == conditions["Stalled"] == "True")


@pytest.mark.parametrize("kind", sorted(LIVES))
def test_every_status_fits_the_schema_and_the_conventions(kind):
    for world in live(kind):
        status = world.plan().status
        check_status(kind, status)
        generations = {item["observedGeneration"] for item in status["conditions"]}
        assert generations == {status["observedGeneration"]}


@pytest.mark.parametrize("kind", sorted(LIVES))
def test_a_plan_never_applies_what_it_deletes(kind):
    for world in live(kind):
        made = world.plan()
        applied = {ObjectKey(c.manifest["kind"], c.manifest["metadata"]["name"]) for c in made.apply}
        assert not applied & set(made.delete)


@pytest.mark.parametrize("kind", sorted(LIVES))
def test_a_resource_that_is_being_deleted_is_left_alone(kind):
    for world in live(kind):
        world.resource["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
        made = world.plan()
        del world.resource["metadata"]["deletionTimestamp"]
        assert made.apply == made.delete == made.events == ()


@functools.cache
def worlds_of(kind):
    return [copy.deepcopy(world) for world in live(kind)]


@pytest.mark.parametrize("kind", sorted(LIVES))
@ANY
@given(data=st.data())
def test_any_resource_gives_a_plan(kind, data):
    """One value anywhere in spec, status or metadata is replaced by nonsense."""
    worlds = worlds_of(kind)
    world = worlds[data.draw(st.integers(0, len(worlds) - 1))]
    part = data.draw(st.sampled_from(["spec", "status"]))
    value = world.resource.get(part, {})
    path = choose(data, paths_of(value))
    resource = world.resource | {part: replaced(value, path, data.draw(JSON))}
    needs(resource, SETTINGS)
    made = plan(Observed(**{**_fields(world.observe()), "resource": resource}), SETTINGS, START)
    check_status(kind, made.status)


@pytest.mark.parametrize("kind", sorted(LIVES))
@ANY
@given(data=st.data())
def test_any_surroundings_give_a_plan(kind, data):
    """One value in a child or in a referred resource is replaced by nonsense."""
    worlds = worlds_of(kind)
    world = worlds[data.draw(st.integers(0, len(worlds) - 1))]
    observed = _fields(world.observe())
    part = data.draw(st.sampled_from(["children", "references", "config_maps"]))
    items = {key: value for key, value in observed[part].items() if value}
    if items:
        key = choose(data, sorted(items))
        path = choose(data, paths_of(items[key]))
        if path and path != ("metadata",):
            observed[part] = observed[part] | {key: replaced(items[key], path, data.draw(JSON))}
    name = choose(data, sorted(key.name for key in observed["children"]) or [""])
    failure = PodFailure(
        "p",
        "c",
        data.draw(st.none() | st.just(1)),
        data.draw(st.sampled_from(["Error", "ErrImagePull", "Evicted", ""])),
        "",
    )
    made = plan(Observed(**{**observed, "failures": {name: failure}}), SETTINGS, START)
    check_status(kind, made.status)


def _fields(observed):
    return {name: getattr(observed, name) for name in observed.__dataclass_fields__}
