"""Pushing to a hub: the real huggingface_hub against a stand-in for a hub."""

import multiprocessing
import os
from collections.abc import Iterator

import huggingface_hub.constants
import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.stand_in_hub import Repository, StandInHub
from tests.unit.worker.support.trained import (
    PUSHED,
    SHARDS,
    TRAINED,
    check_fetched,
    files_of,
    push,
    train,
    words_of,
)

from safety_worker.errors import InfrastructureError, InputError

pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")
"""The client gives httpx its bytes in an old way."""

URI = "hf://org/name"


@pytest.fixture
def hub(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    train(workplace)
    with StandInHub() as server:
        workplace.environment["HF_ENDPOINT"] = server.endpoint
        workplace.environment["TOKEN"] = server.token
        yield server


def at(hub: StandInHub, branch: str = "main") -> dict[str, bytes]:
    repository = hub.repositories["org/name"]
    return repository.commits[repository.branches[branch]]


def test_a_model_and_its_card_go_into_a_private_repository_that_is_made(
    hub: StandInHub, workplace: Workplace
) -> None:
    result = push(workplace, URI)
    assert {*at(hub)} == {*PUSHED, ".gitattributes"}
    assert at(hub)["README.md"] == b"# the card"
    assert hub.repositories["org/name"].private
    commit = hub.repositories["org/name"].branches["main"]
    assert result.pushed is not None
    assert (result.pushed.uri, result.pushed.revision) == (f"hf://org/name@{commit}", commit)
    assert len(hub.repositories["org/name"].commits) == 2, "one commit, and the one that made the repository"


def test_what_was_pushed_is_fetched_with_the_same_digest(hub: StandInHub, workplace: Workplace) -> None:
    digest = train(workplace)
    pushed = push(workplace, URI).pushed
    assert pushed is not None
    assert hub.repositories
    check_fetched(workplace, pushed.uri, digest, token_env="TOKEN")


def test_what_is_there_is_not_sent_again(hub: StandInHub, workplace: Workplace) -> None:
    first = push(workplace, URI)
    second = push(workplace, URI)
    assert first.pushed == second.pushed
    assert (first.rows, second.rows) == (len(PUSHED), 0)
    assert len(hub.uploads) == len(SHARDS)


def test_a_killed_push_goes_on_with_the_files_that_are_missing(hub: StandInHub, workplace: Workplace) -> None:
    child = multiprocessing.get_context("fork").Process(target=push_and_die, args=(hub, workplace))
    hub.on_upload = lambda number: child.kill() if number == 1 and child.is_alive() else None
    child.start()
    child.join()
    assert child.exitcode == -9
    assert SHARDS[0] not in at(hub), "nobody sees half a model"
    sent = len(hub.uploads)
    push(workplace, URI)
    assert {*at(hub)} >= PUSHED
    assert len(hub.uploads) - sent <= 1, "the first shard is not sent again"


def push_and_die(hub: StandInHub, workplace: Workplace) -> None:
    push(workplace, URI)
    os._exit(0)


@pytest.mark.usefixtures("hub")
def test_another_model_is_refused_and_left_as_it_is(hub: StandInHub, workplace: Workplace) -> None:
    push(workplace, URI)
    before = at(hub)
    train(workplace, fill=1)
    with pytest.raises(InputError, match=r"holds something else \(.*name another target") as caught:
        push(workplace, URI)
    assert caught.value.reason == "TargetTaken"
    assert at(hub) == before


def test_another_model_gives_way_where_that_is_allowed_without_a_rest_of_it(
    hub: StandInHub, workplace: Workplace
) -> None:
    hub.repositories["org/name"] = old = Repository()
    old.add("main", {"model.safetensors": b"old", "README.md": b"old", "LICENSE": b"kept"})
    push(workplace, URI, replace=True)
    assert {*at(hub)} == {*PUSHED, "LICENSE"}
    assert any(files["README.md"] == b"old" for files in old.commits.values()), "its history stays"


def test_another_branch_takes_another_model_without_asking(hub: StandInHub, workplace: Workplace) -> None:
    push(workplace, URI)
    before = at(hub)
    digest = train(workplace, fill=1)
    pushed = push(workplace, f"{URI}@run/2").pushed
    assert at(hub) == before
    assert at(hub, "run/2")[SHARDS[0]] == files_of(1)[SHARDS[0]]
    assert pushed is not None
    check_fetched(workplace, pushed.uri, digest, token_env="TOKEN")


def test_a_branch_that_a_killed_try_made_is_filled(hub: StandInHub, workplace: Workplace) -> None:
    push(workplace, URI)
    repository = hub.repositories["org/name"]
    repository.branches["next"] = repository.branches["main"]
    train(workplace, fill=1)
    push(workplace, f"{URI}@next")
    assert at(hub, "next")[SHARDS[0]] == files_of(1)[SHARDS[0]]


def test_a_branch_is_made_for_what_main_has_already(hub: StandInHub, workplace: Workplace) -> None:
    push(workplace, URI)
    result = push(workplace, f"{URI}@v1")
    assert result.rows == 0
    assert at(hub, "v1") == at(hub)


@pytest.mark.parametrize("token", ["hf_reader", "hf_unknown"])
def test_a_token_that_may_not_write_is_said_and_never_shown(
    token: str, hub: StandInHub, workplace: Workplace
) -> None:
    hub.repositories["org/name"] = Repository()
    hub.repositories["org/name"].add("main", {})
    workplace.environment["TOKEN"] = token
    with pytest.raises(InputError, match="let tokenSecretRef name a token that may write") as caught:
        push(workplace, URI)
    assert caught.value.reason == "NotWritable"
    assert token not in words_of(caught.value)


def test_a_hub_without_room_is_said(hub: StandInHub, workplace: Workplace) -> None:
    hub.full = True
    with pytest.raises(InputError, match="has no room") as caught:
        push(workplace, URI)
    assert caught.value.reason == "TargetFull"


def test_a_refused_upload_shows_no_signature(hub: StandInHub, workplace: Workplace) -> None:
    hub.upload_status = 403
    with pytest.raises(InputError, match="may not be written") as caught:
        push(workplace, URI)
    assert "secretsignature" not in words_of(caught.value)


@pytest.mark.usefixtures("hub")
def test_an_unreachable_hub_is_infrastructure(workplace: Workplace) -> None:
    workplace.environment["HF_ENDPOINT"] = "http://127.0.0.1:1"
    with pytest.raises(InfrastructureError) as caught:
        push(workplace, URI)
    assert caught.value.reason == "HubUnreachable"
    assert "hf_writer" not in words_of(caught.value)


def test_a_hub_without_xet_is_said_with_the_variable_that_helps(
    hub: StandInHub, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(InfrastructureError, match="HF_HUB_DISABLE_XET if it has no Xet") as caught:
        push(workplace, URI)
    assert "hf_writer" not in words_of(caught.value)
    assert not hub.uploads


def test_a_model_that_changed_in_the_store_is_not_pushed(hub: StandInHub, workplace: Workplace) -> None:
    digest = train(workplace)
    (workplace.artifacts / TRAINED / SHARDS[0]).write_bytes(b"other")
    with pytest.raises(InfrastructureError, match="is not the model that was trained"):
        push(workplace, URI, digest=digest)
    assert not hub.repositories
