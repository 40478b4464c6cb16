"""Revisions and paths of a hub as they exist, and messages that name the true cause."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_hub import FakeHub

from safety_records.data import Dataset
from safety_worker.datasets.loading import load_dataset
from safety_worker.errors import InputError

ROW = b'{"prompt": "one"}\n'
FILES = {"data/train.jsonl": ROW, "data/my file.jsonl": ROW, "tree/oak/x.jsonl": ROW, "README.md": b"x"}
APART = "cafe\u0301.jsonl"


@pytest.fixture
def hub(workplace: Workplace) -> Iterator[Callable[..., FakeHub]]:
    with ExitStack() as stack:

        def start(**fields: object) -> FakeHub:
            server = stack.enter_context(FakeHub(**{"files": FILES, **fields}))  # type: ignore[arg-type]
            workplace.environment["HF_ENDPOINT"] = server.endpoint
            return server

        yield start


def num_rows(workplace: Workplace, uri: str) -> int:
    return len(load_dataset("d", Dataset(uri=uri), workplace.context).rows)


@pytest.mark.parametrize("revision", ["v1", "fix/x", "team/alice/fix-1", "refs/convert/parquet", "refs/pr/7"])
@pytest.mark.parametrize("path", ["", "/", "/data", "/data/", "/data/train.jsonl"])
def test_a_revision_may_hold_slashes(
    revision: str, path: str, hub: Callable[..., FakeHub], workplace: Workplace
) -> None:
    hub(revision=revision)
    for written in (revision, revision.replace("/", "%2F")):
        assert num_rows(workplace, f"hf://org/small@{written}{path}") >= 1


def test_a_revision_that_is_not_there_is_said_by_its_first_part(
    hub: Callable[..., FakeHub], workplace: Workplace
) -> None:
    hub()
    with pytest.raises(InputError, match=r"RevisionNotFound: hf://org/small@nope does not exist"):
        num_rows(workplace, "hf://org/small@nope/data/train.jsonl")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("data/trian.jsonl", "there is data/train.jsonl"),
        ("Data/Train.JSONL", "there is data/train.jsonl"),
        ("dta", "there is data"),
        ("data/[a-z].jsonl", "patterns are not read"),
        ("tree/v1/data", "write hf://datasets/org/small@v1/data"),
        ("blob/refs/pr/3/data/train.jsonl", "write hf://datasets/org/small@refs%2Fpr%2F3/data/train.jsonl"),
        ("entirely/elsewhere", "no file or folder entirely/elsewhere"),
    ],
)
def test_a_path_that_is_not_there_is_said_with_what_was_meant(
    path: str, said: str, hub: Callable[..., FakeHub], workplace: Workplace
) -> None:
    hub()
    with pytest.raises(InputError) as caught:
        num_rows(workplace, f"hf://org/small/{path}")
    assert said in caught.value.message
    assert caught.value.reason == "NotFound"


@pytest.mark.parametrize("uri", ["hf://org/small/{}", "pvc://claim/{}"])
@pytest.mark.parametrize("written", ["caf\u00e9.jsonl", APART, "caf%C3%A9.jsonl", "cafe%CC%81.jsonl"])
def test_letters_and_their_accents_may_be_written_apart(
    uri: str, written: str, hub: Callable[..., FakeHub], workplace: Workplace
) -> None:
    hub(files={APART: ROW})
    (workplace.inputs / "pvc/claim").mkdir(parents=True)
    (workplace.inputs / "pvc/claim" / APART).write_bytes(ROW)
    assert num_rows(workplace, uri.format(written)) == 1


def test_a_folder_that_is_called_like_an_address_is_read(
    hub: Callable[..., FakeHub], workplace: Workplace
) -> None:
    hub()
    assert num_rows(workplace, "hf://org/small/tree/oak") == 1


def test_a_path_with_spaces_is_written_with_percent_signs(
    hub: Callable[..., FakeHub], workplace: Workplace
) -> None:
    hub()
    assert num_rows(workplace, "hf://org/small/data/my%20file.jsonl") == 1
    (workplace.inputs / "pvc/claim").mkdir(parents=True)
    (workplace.inputs / "pvc/claim/my file.jsonl").write_bytes(ROW)
    assert num_rows(workplace, "pvc://claim/my%20file.jsonl") == 1
    with pytest.raises(InputError, match="InvalidUri"):
        num_rows(workplace, "pvc://claim/%2e%2e/%2e%2e/x.jsonl")


def test_a_repository_of_another_kind_is_called_what_it_is(
    hub: Callable[..., FakeHub], workplace: Workplace
) -> None:
    hub(kinds=("models",))
    with pytest.raises(InputError, match="is a model, a data set is wanted"):
        num_rows(workplace, "hf://org/small")
    assert num_rows(workplace, "hf://models/org/small/data/train.jsonl") == 1
    hub(kinds=("datasets",))
    for uri, said in (
        ("hf://org/small", "is a data set, a model is wanted"),
        ("hf://datasets/org/small", "names a data set, a model is wanted"),
        ("hf://spaces/org/small", "a Space"),
    ):
        with pytest.raises(InputError, match=said):
            workplace.run("fetch", uri=uri)


def test_a_repository_that_was_renamed_is_followed(hub: Callable[..., FakeHub], workplace: Workplace) -> None:
    hub()
    assert num_rows(workplace, "hf://org/old/data/train.jsonl") == 1


def test_a_private_repository_asks_for_a_token(hub: Callable[..., FakeHub], workplace: Workplace) -> None:
    hub(token="secret")
    with pytest.raises(
        InputError, match="does not exist as a data set or is private: check the name, or set"
    ):
        num_rows(workplace, "hf://org/small")


def test_a_file_that_the_hub_lists_and_does_not_have_is_no_matter_of_trying_again(
    hub: Callable[..., FakeHub], workplace: Workplace
) -> None:
    hub(missing=("data/train.jsonl",))
    with pytest.raises(InputError, match="upload it there again"):
        num_rows(workplace, "hf://org/small/data/train.jsonl")


def test_a_name_on_a_claim_that_is_not_there_is_said_with_what_was_meant(workplace: Workplace) -> None:
    (workplace.inputs / "pvc/claim").mkdir(parents=True)
    (workplace.inputs / "pvc/claim/train.jsonl").write_bytes(ROW)
    with pytest.raises(InputError, match=r"there is train\.jsonl"):
        num_rows(workplace, "pvc://claim/trian.jsonl")
    (workplace.inputs / "pvc/claim/linked.jsonl").symlink_to("nowhere.jsonl")
    with pytest.raises(InputError, match="BrokenLink"):
        num_rows(workplace, "pvc://claim/linked.jsonl")
