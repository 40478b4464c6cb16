"""Pushing to a registry of images, against a stand-in for one."""

import base64
import gzip
import io
import json
import multiprocessing
import os
import tarfile
from collections.abc import Iterator

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.stand_in_registry import StandInRegistry
from tests.unit.worker.support.trained import PUSHED, check_fetched, push, train, words_of

from safety_records.in_place import image_folder
from safety_records.uris import parse_oci
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.pushing.bounded_answers import MAX_ANSWER_BYTES
from safety_worker.pushing.registry_auth import registry_login


@pytest.fixture
def registry(workplace: Workplace) -> Iterator[StandInRegistry]:
    train(workplace)
    with StandInRegistry() as server:
        workplace.environment["TOKEN"] = docker_config(server.name, server.password)
        yield server


def docker_config(name: str, password: str) -> str:
    login = base64.b64encode(f"user:{password}".encode()).decode()
    return json.dumps({"auths": {name: {"auth": login}}})


def uri_of(registry: StandInRegistry, tag: str = "v1") -> str:
    return f"oci://{registry.name}/team/small:{tag}"


def mount(registry: StandInRegistry, workplace: Workplace, uri: str) -> None:
    """What a kubelet does with an image volume: the layers, one over the other."""
    reference = parse_oci(uri).reference
    folder = workplace.inputs / "oci" / image_folder(reference)
    manifest = json.loads(registry.manifests[reference.rpartition("@")[2]])
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(registry.blobs[layer["digest"]])) as archive:
            archive.extractall(folder, filter="data")


def test_what_was_pushed_is_read_from_an_image_volume_with_the_same_digest(
    registry: StandInRegistry, workplace: Workplace
) -> None:
    digest = train(workplace)
    pushed = push(workplace, uri_of(registry)).pushed
    assert pushed is not None
    assert pushed.uri == f"oci://{registry.name}/team/small@{pushed.revision}"
    mount(registry, workplace, pushed.uri)
    check_fetched(workplace, pushed.uri, digest)
    config = json.loads(registry.manifests["v1"])["config"]
    layers = [layer["digest"] for layer in json.loads(registry.manifests["v1"])["layers"]]
    assert json.loads(registry.blobs[config["digest"]])["rootfs"]["diff_ids"] == layers


def test_what_is_there_is_not_sent_again(registry: StandInRegistry, workplace: Workplace) -> None:
    first = push(workplace, uri_of(registry))
    assert len(registry.uploads) == len(PUSHED) + 1, "a layer for each file, and the configuration"
    assert push(workplace, uri_of(registry)).pushed == first.pushed
    push(workplace, uri_of(registry, "v2"))
    assert len(registry.uploads) == len(PUSHED) + 1
    assert registry.manifests["v1"] == registry.manifests["v2"]


def test_a_killed_push_goes_on_with_the_layers_that_are_missing(
    registry: StandInRegistry, workplace: Workplace
) -> None:
    child = multiprocessing.get_context("fork").Process(target=push_and_end, args=(registry, workplace))
    registry.on_upload = lambda number: child.kill() if number == 3 and child.is_alive() else None
    child.start()
    child.join()
    assert child.exitcode == -9
    assert not registry.manifests, "nobody sees half a model"
    push(workplace, uri_of(registry))
    assert len(registry.uploads) == len({*registry.uploads}), "no layer was sent twice"


def push_and_end(registry: StandInRegistry, workplace: Workplace) -> None:
    push(workplace, uri_of(registry))
    os._exit(0)


def test_another_image_at_the_tag_is_refused_unless_it_may_be_replaced(
    registry: StandInRegistry, workplace: Workplace
) -> None:
    push(workplace, uri_of(registry))
    before = registry.manifests["v1"]
    train(workplace, fill=1)
    with pytest.raises(InputError, match=r"holds something else \(the tag v1\)") as caught:
        push(workplace, uri_of(registry))
    assert caught.value.reason == "TargetTaken"
    assert registry.manifests["v1"] == before
    push(workplace, uri_of(registry), replace=True)
    assert registry.manifests["v1"] != before


def test_a_wrong_password_is_said_and_never_shown(registry: StandInRegistry, workplace: Workplace) -> None:
    workplace.environment["TOKEN"] = docker_config(registry.name, "wrongsecret")
    with pytest.raises(InputError, match="with a login of localhost") as caught:
        push(workplace, uri_of(registry))
    assert caught.value.reason == "NotWritable"
    assert "wrongsecret" not in words_of(caught.value)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((404, "NAME_UNKNOWN"), "TargetNotFound"),
        ((403, "DENIED"), "NotWritable"),
        ((403, "quota exceeded"), "TargetFull"),
        ((400, "NAME_INVALID"), "PushRefused"),
    ],
)
def test_a_refusal_is_told_with_its_reason(
    refusal: tuple[int, str], reason: str, registry: StandInRegistry, workplace: Workplace
) -> None:
    registry.refusal = refusal
    with pytest.raises(InputError) as caught:
        push(workplace, uri_of(registry))
    assert caught.value.reason == reason


@pytest.mark.parametrize("end", ["/manifests/v1", "/token"])
@pytest.mark.parametrize(
    ("answer", "headers"),
    [(b"x" * (MAX_ANSWER_BYTES + 1), {}), (gzip.compress(b"{}"), {"Content-Encoding": "gzip"})],
    ids=["endless", "packed"],
)
def test_an_answer_that_no_registry_gives_is_not_read_to_its_end(
    end: str, answer: bytes, headers: dict[str, str], registry: StandInRegistry, workplace: Workplace
) -> None:
    registry.instead[end] = answer, headers
    with pytest.raises(InfrastructureError, match="an answer of more than 4 MiB") as caught:
        push(workplace, uri_of(registry))
    assert caught.value.reason == "NotARegistry"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\nb"}'])
def test_a_token_server_without_a_token_is_a_login_that_was_refused(
    answer: bytes, registry: StandInRegistry, workplace: Workplace
) -> None:
    registry.instead["/token"] = answer, {}
    with pytest.raises(InputError) as caught:
        push(workplace, uri_of(registry))
    assert caught.value.reason == "NotWritable"


@pytest.mark.usefixtures("registry")
def test_an_unreachable_registry_is_infrastructure(workplace: Workplace) -> None:
    workplace.environment["TOKEN"] = docker_config("localhost:1", "topsecret")
    with pytest.raises(InfrastructureError) as caught:
        push(workplace, "oci://localhost:1/team/small:v1")
    assert caught.value.reason == "RegistryUnreachable"
    assert "topsecret" not in words_of(caught.value)


@pytest.mark.parametrize(
    "secret", ["topsecret", '{"auths": {}}', '{"auths": {"other": {}}}', '{"auths": {"r": {"auth": "%%"}}}']
)
def test_credentials_of_another_form_are_said_and_never_shown(secret: str) -> None:
    with pytest.raises(InputError, match=r"\.dockerconfigjson") as caught:
        registry_login(secret, "r")
    assert "topsecret" not in words_of(caught.value)
