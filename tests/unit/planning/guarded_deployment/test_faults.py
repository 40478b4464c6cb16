"""What goes wrong around a GuardedDeployment at its first start, and what is said then."""

import pytest
from tests.unit.planning.examples import finished_eval, finished_finetune, make_guarded
from tests.unit.planning.guarded_deployment.guarded import make_open
from tests.unit.planning.guarded_deployment.test_exposure import ROUTE
from tests.unit.planning.world import World

from safety_operator.state.keys import Key

IMAGE = "registry.example.com/team/typo:1"
DENIED = (None, "ImagePullBackOff", f'Back-off pulling image "{IMAGE}": pull access denied, unauthorized')


@pytest.mark.parametrize(
    ("role", "what", "condition"),
    [
        ("model", "The model server", "ModelReady"),
        ("guardrails", "The guardrails", "GuardrailsReady"),
        ("classifier", "The classifier", "GuardrailsReady"),
    ],
)
def test_an_image_that_cannot_be_pulled_at_the_first_start_is_told_with_pod_and_remedy(role, what, condition):
    world = make_open()
    world.settle()
    for other in {"model", "guardrails", "classifier"} - {role}:
        world.serve(other)
    world.roll(role, old=0, ready=0, failure=DENIED)
    world.settle()
    told = world.condition(condition)
    assert told["status"] == "False"
    for words in (f"{what}: pod assistant-{role}-", "ImagePullBackOff", IMAGE, "spec.pod.imagePullSecrets"):
        assert words in told["message"]
    ready = world.condition("Ready")
    assert (ready["status"], ready["message"]) == ("False", told["message"])
    assert world.status["state"] == "Stalled"


def placed(namespace: str) -> World:
    """The same manifest, applied in a namespace."""
    world = make_guarded(expose={"httpRoute": ROUTE})
    world.resource["metadata"] |= {"namespace": namespace, "uid": f"uid-of-{namespace}"}
    world.references = {
        Key("SafetyFinetune", namespace, "hardened"): finished_finetune(),
        Key("SafetyEval", namespace, "hardened"): finished_eval(),
    }
    world.settle()
    return world


def test_two_of_one_name_in_two_namespaces_have_nothing_in_common():
    one, other = placed("team-a"), placed("team-b")
    assert one.names("Service") == other.names("Service"), (
        "names are of a namespace, and stay as people know them"
    )
    for world, namespace in ((one, "team-a"), (other, "team-b")):
        assert {child["metadata"]["namespace"] for child in world.children.values()} == {namespace}
        assert world.status["served"]["wantedModelDigest"]
    text = str(sorted(other.children.items()))
    assert "team-a" not in text
    assert "team-b.svc" in text
