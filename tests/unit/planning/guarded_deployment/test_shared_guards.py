"""A guard model that several GuardedDeployments ask: what they see of what becomes of its owner."""

from typing import Any

import pytest
from tests.unit.planning.guarded_deployment.blue_green import finish, new_model, prove_new
from tests.unit.planning.guarded_deployment.guarded import GOOD, configurations, deployment
from tests.unit.planning.guarded_deployment.test_guards import (
    OTHERS,
    OWN,
    ROLE,
    SOURCE,
    make,
    make_fetched,
    rails_config,
    serve,
)
from tests.unit.planning.world import World, digest_of

from safety_operator.state.keys import Key, ObjectKey
from safety_operator.state.labels import LABEL_INSTANCE, LABEL_ROLE
from safety_operator.state.reading import format_time

FORMAT = "modelsafety.dev/guard-format"


def make_owner(**spec: Any) -> World:
    """A GuardedDeployment with a guard of its own, which serves."""
    world = make_fetched()
    world.resource["metadata"]["name"] = "assistant"
    world.edit(**spec)
    world.settle()
    serve(world, "model", "guardrails", ROLE)
    world.succeed("prove", proof=GOOD)
    world.settle()
    return world


def make_user(owner: World) -> World:
    """Another one that asks the owner's guard, and serves."""
    world = make({"guardedDeploymentRef": {"name": "assistant"}})
    world.resource["metadata"]["name"] = "second"
    tell(owner, world)
    serve(world, "model", "guardrails")
    world.succeed("prove", proof=GOOD)
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    return world


def tell(owner: World, user: World) -> None:
    """The user looks at the owner as it is now."""
    user.refer("GuardedDeployment", "assistant", owner.resource)
    user.settle()


def guard_url(world: World) -> str:
    (model,) = [item for item in rails_config(world)["models"] if item["type"] == "content_safety"]
    return str(model["parameters"]["base_url"])


def asked(owner: World, user: World) -> dict[str, Any] | None:
    """The owner's Deployment whose pods the user's guardrails reach; None: their Service leads nowhere."""
    host = guard_url(user).removeprefix("http://").partition(".")[0]
    service = owner.children.get(ObjectKey("Service", host))
    if service is None:
        return None
    labels = service["spec"]["selector"]
    found = owner.children.get(ObjectKey("Deployment", labels[LABEL_INSTANCE]))
    pods = found["spec"]["template"]["metadata"]["labels"] if found else {}
    return found if labels.items() <= pods.items() else None


def pods_of_guard(owner: World) -> dict[str, str]:
    """Labels of the newest pods of the owner's guard."""
    found: dict[str, str] = deployment(owner, ROLE)["spec"]["template"]["metadata"]["labels"]
    return found


def shared_selectors(owner: World) -> list[dict[str, str]]:
    """What the Services select by which others ask the owner's guard."""
    services = [child for key, child in owner.children.items() if key.kind == "Service"]
    own = deployment(owner, ROLE)["metadata"]["name"]
    return [
        item["spec"]["selector"]
        for item in services
        if item["metadata"]["labels"][LABEL_ROLE] == ROLE and item["metadata"]["name"] != own
    ]


def template(world: World) -> dict[str, Any]:
    found: dict[str, Any] = deployment(world, "guardrails")["spec"]["template"]
    return found


def test_a_new_model_of_the_owner_moves_nobody_who_asks_its_guard():
    owner = make_owner(rollout={"strategy": "BlueGreen"})
    user = make_user(owner)
    before, rails = asked(owner, user), template(user)
    assert before

    def unmoved() -> dict[str, Any] | None:
        tell(owner, user)
        assert template(user) == rails
        assert user.condition("Ready")["status"] == "True"
        return asked(owner, user)

    new_model(owner, "newer")
    assert unmoved() == before, "the new guard has no requests yet"
    prove_new(owner)
    now = unmoved()
    assert now
    assert now["metadata"]["name"] != before["metadata"]["name"], "as soon as the requests are there"
    finish(owner)
    assert ObjectKey("Deployment", before["metadata"]["name"]) not in owner.children
    assert unmoved() == now


def test_a_guard_of_another_format_is_never_read_as_the_one_before():
    owner = make_owner(rollout={"strategy": "BlueGreen"})
    user = make_user(owner)
    other = OWN | {"source": SOURCE | {"uri": "hf://meta/llama-guard"}, "format": "llama-guard"}
    owner.edit(guardrails={"contentSafety": {"model": other}})
    owner.settle()
    owner.succeed("fetch-content-safety", output="guard2")
    owner.settle()
    prove_new(owner)
    old = asked(owner, user)
    assert old, "the guard before is there until those who ask it had time to move"
    assert old["spec"]["template"]["metadata"]["labels"][FORMAT] == "nemoguard"
    tell(owner, user)
    serve(user, "guardrails")
    new = asked(owner, user)
    assert new
    assert new["spec"]["template"]["metadata"]["labels"][FORMAT] == "llama-guard"
    finish(owner)
    tell(owner, user)
    assert asked(owner, user) == new
    assert len([name for name in owner.names("Service") if ROLE in name]) == 2, "the old ones are gone"


def test_in_place_those_who_ask_learn_of_another_guard_when_a_pod_of_it_is_ready():
    owner = make_owner()
    user = make_user(owner)
    rails = template(user)
    owner.edit(guardrails={"contentSafety": {"model": OWN | {"format": "llama-guard"}}})
    owner.settle()
    tell(owner, user)
    assert template(user) == rails
    assert user.condition("Available")["status"] == "True"
    serve(owner, ROLE)
    tell(owner, user)
    assert template(user) != rails
    serve(user, "guardrails")
    new = asked(owner, user)
    assert new
    assert new["spec"]["template"]["metadata"]["labels"][FORMAT] == "llama-guard"


def test_in_place_the_service_of_a_format_leads_to_no_pod_of_another():
    owner = make_owner()
    before, services = pods_of_guard(owner), shared_selectors(owner)
    owner.edit(guardrails={"contentSafety": {"model": OWN | {"format": "llama-guard"}}})
    owner.settle()
    (old,), (new,) = services, [item for item in shared_selectors(owner) if item not in services]
    assert old.items() <= before.items()
    assert new.items() <= pods_of_guard(owner).items()
    assert not new.items() <= before.items()
    assert old in shared_selectors(owner), "for those who have not moved yet"


def test_those_who_ask_read_answers_as_the_owner_says_that_they_are():
    owner = make_owner(guardrails={"contentSafety": {"model": OWN | {"format": "llama-guard"}}})
    user = make_user(owner)
    assert prompts(user) == prompts(owner)


def prompts(world: World) -> str:
    (name,) = configurations(world)
    return str(world.children[ObjectKey("ConfigMap", name)]["data"]["prompts.yml"])


def test_the_service_on_a_guard_is_made_again_while_another_version_comes_up():
    owner = make_owner(rollout={"strategy": "BlueGreen"})
    user = make_user(owner)
    before = asked(owner, user)
    owner.edit(guardrails={"contentSafety": {"model": OWN | {"format": "llama-guard"}}})
    owner.settle()
    for name in [name for name in owner.names("Service") if ROLE in name]:
        del owner.children[ObjectKey("Service", name)]
    owner.settle()
    assert before
    assert asked(owner, user) == before


def test_who_comes_up_next_to_a_guard_of_others_that_went_is_not_told_to_be_available():
    owner = make_owner()
    user = make({"guardedDeploymentRef": {"name": "assistant"}})
    user.resource["metadata"]["name"] = "second"
    user.edit(rollout={"strategy": "BlueGreen"})
    tell(owner, user)
    serve(user, "model", "guardrails")
    user.succeed("prove", proof=GOOD)
    user.settle()
    new_model(user, "newer")
    assert user.condition("Available")["status"] == "True"
    owner.resource["status"]["guards"][0]["ready"] = False
    tell(owner, user)
    assert user.condition("Available")["status"] == "False"


def test_while_the_owner_fetches_another_guard_those_who_ask_serve_on():
    owner = make_owner()
    user = make_user(owner)
    owner.edit(guardrails={"contentSafety": {"model": OWN | {"source": SOURCE | {"uri": "hf://nvidia/2"}}}})
    owner.settle()
    tell(owner, user)
    assert owner.status["guards"][0]["digest"] == digest_of("guard")
    assert user.condition("Ready")["status"] == "True"


def gone(user: World) -> None:
    user.references[Key("GuardedDeployment", "team", "assistant")] = None  # type: ignore[assignment]


def leaving(user: World) -> None:
    found = user.references[Key("GuardedDeployment", "team", "assistant")]
    found["metadata"]["deletionTimestamp"] = format_time(user.now)


@pytest.mark.parametrize(("how", "words"), [(gone, "is gone"), (leaving, "is being deleted")])
def test_those_who_ask_say_who_took_the_guard_along_and_what_to_do(how: Any, words: str):
    user = make_user(make_owner())
    rails = template(user)
    user.events.clear()
    how(user)
    user.settle()
    wanted = f"GuardedDeployment assistant, which serves this guard, {words}."
    for kind in ("Ready", "GuardrailsReady"):
        found = user.condition(kind)
        assert found["status"] == "False"
        assert "spec.guardrails.contentSafety.model.guardedDeploymentRef" in found["message"]
        assert wanted in found["message"]
        assert "Create it again, or name another guard there." in found["message"]
    assert [event for event in user.events if event.type == "Warning" and wanted in event.message]
    assert template(user) == rails, "no request goes round the guard"


def test_without_its_guard_nothing_is_told_to_be_available():
    user = make_user(make_owner())
    gone(user)
    user.settle()
    found = user.condition("Available")
    assert found["status"] == "False"
    assert "guard model for contentSafety of GuardedDeployment assistant" in found["message"]


def test_the_owner_comes_back_and_those_who_ask_it_serve_again_as_they_are():
    owner = make_owner()
    user = make_user(owner)
    rails = template(user)
    gone(user)
    user.settle()
    tell(owner, user)
    assert user.condition("Ready")["status"] == "True"
    assert template(user) == rails


def test_a_guard_ends_while_its_owner_is_suspended_and_those_who_ask_it_say_so():
    owner = make_owner()
    user = make_user(owner)
    rails = template(user)
    owner.edit(suspend=True)
    owner.settle()
    assert not [name for name in owner.names("Deployment") if ROLE in name]
    tell(owner, user)
    assert user.condition("Available")["status"] == "False"
    found = user.condition("Ready")
    assert found["status"] != "True"
    assert "of GuardedDeployment assistant" in found["message"]
    assert "its spec.suspend is true" in found["message"]
    assert template(user) == rails
    owner.edit(suspend=False)
    owner.settle()
    serve(owner, "model", "guardrails", ROLE)
    tell(owner, user)
    assert user.condition("Ready")["status"] == "True"
    assert template(user) == rails


def test_a_guard_that_was_never_there_is_waited_for():
    user = make(OTHERS)
    user.settle()
    assert user.condition("Ready")["status"] == "Unknown"
    assert "Waiting for GuardedDeployment first" in user.condition("GuardrailsReady")["message"]
    assert not configurations(user)
