"""Models and data from a hub: the real huggingface_hub against a fake of the hub's HTTP interface."""

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.worker.conftest import Workplace, resolve_files
from tests.unit.worker.fake_hub import FakeHub
from tests.unit.worker.support.weights import tensors

from safety_records.result import EXIT_INPUT
from safety_worker import cli
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport import download

WEIGHTS = tensors(bytes(range(256)) * 40_000)
SECRET = "hf_" + "topsecret" * 3
MODEL = {
    "config.json": json.dumps({"max_position_embeddings": 64}).encode(),
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "README.md": b"no part of it",
    "pytorch_model.bin": b"code",
    "onnx/model.onnx": b"graph",
}


@pytest.fixture
def hub(workplace: Workplace) -> Iterator[FakeHub]:
    with FakeHub(dict(MODEL)) as server:
        workplace.environment["HF_ENDPOINT"] = server.endpoint
        yield server


def fetch(workplace: Workplace, uri: str = "hf://org/small", **fields: object) -> object:
    return workplace.run("fetch", uri=uri, **fields).output


def words_of(error: BaseException) -> str:
    """All that a log shows of an error."""
    return "".join(traceback.format_exception(error))


def test_a_hub_of_ones_own_gives_just_the_model(workplace: Workplace, hub: FakeHub) -> None:
    output = fetch(workplace)
    folder = workplace.artifacts / output.uri  # type: ignore[attr-defined]
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert {path.name for path in folder.iterdir()} == wanted | {"manifest.json"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert set(hub.downloads) == wanted


def test_the_token_is_given_to_the_hub_and_not_to_its_storage_host(
    workplace: Workplace, hub: FakeHub
) -> None:
    hub.token = workplace.environment["TOKEN"] = SECRET
    fetch(workplace, token_env="TOKEN")
    elsewhere = [item for item in hub.asked if item.host != "127.0.0.1"]
    assert elsewhere
    assert {item.authorization for item in elsewhere} == {""}
    assert {item.authorization for item in hub.asked if item.host == "127.0.0.1"} == {f"Bearer {SECRET}"}


def test_a_model_that_was_damaged_in_the_store_is_fetched_again(workplace: Workplace, hub: FakeHub) -> None:
    weights = workplace.artifacts / fetch(workplace).uri / "model.safetensors"  # type: ignore[attr-defined]
    weights.write_bytes(WEIGHTS[:-5])
    fetch(workplace, out="demo/e/2/fetch")
    assert weights.read_bytes() == WEIGHTS
    hub.downloads.clear()
    fetch(workplace, out="demo/e/3/fetch")
    assert hub.downloads == []


@pytest.mark.parametrize(
    ("gated", "token", "expected"),
    [
        (False, "", "RepositoryNotFound: .* set tokenSecretRef"),
        (False, SECRET, "RepositoryNotFound: .* let tokenSecretRef name a token that may read it"),
        (True, "", "GatedRepository: .* accept its terms and set tokenSecretRef"),
        (True, SECRET, "GatedRepository: .* accept its terms and let tokenSecretRef"),
    ],
)
def test_a_wrong_token_is_said_and_never_shown(
    gated: bool, token: str, expected: str, workplace: Workplace, hub: FakeHub
) -> None:
    hub.token, hub.gated = "another", gated
    workplace.environment["TOKEN"] = token
    with pytest.raises(InputError, match=expected) as caught:
        fetch(workplace, token_env="TOKEN" if token else "")
    assert "topsecret" not in words_of(caught.value)


def test_a_download_that_broke_off_goes_on_in_the_next_pod(
    workplace: Workplace, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    hub.budget = 4_000_000
    with pytest.raises(InfrastructureError) as caught:
        fetch(workplace)
    assert caught.value.reason == "DownloadCutOff"
    before = len(hub.asked)
    hub.budget = None
    output = fetch(workplace)
    assert (workplace.artifacts / output.uri / "model.safetensors").read_bytes() == WEIGHTS  # type: ignore[attr-defined]
    starts = [item.start for item in hub.asked[before:] if item.method == "GET" and item.host == "localhost"]
    assert len(starts) == 1
    assert starts[0] >= 3_900_000, "what earlier tries had brought is not asked for again"


def test_another_digest_than_the_hub_says_is_damage(workplace: Workplace, hub: FakeHub) -> None:
    hub.wrong_digest = True
    with pytest.raises(InfrastructureError, match="another digest"):
        fetch(workplace)
    hub.wrong_digest = False
    fetch(workplace)


@pytest.mark.parametrize("status", [400, 404, 410, 451])
def test_what_a_server_will_always_refuse_is_not_tried_again(
    status: int, workplace: Workplace, hub: FakeHub
) -> None:
    hub.status = status
    with pytest.raises(InputError, match=rf"NotFound: .*HTTP {status}.* check the name, and HF_ENDPOINT"):
        fetch(workplace)


@pytest.mark.parametrize("status", [202, 204, 302])
def test_an_answer_of_something_that_is_no_hub_is_said(
    status: int, workplace: Workplace, hub: FakeHub
) -> None:
    hub.status = status
    with pytest.raises(InfrastructureError, match="what answers is no hub"):
        fetch(workplace)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_in_trouble_is_asked_again_later(
    status: int, workplace: Workplace, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.status = status
    with pytest.raises(InfrastructureError) as caught:
        fetch(workplace)
    assert caught.value.reason == "HubUnreachable"


def test_an_unknown_revision_is_said(workplace: Workplace, hub: FakeHub) -> None:
    assert hub.revision == "main"
    with pytest.raises(InputError, match="no such branch, tag or commit"):
        fetch(workplace, "hf://org/small@v9")


def test_an_unreachable_hub_is_infrastructure(workplace: Workplace) -> None:
    workplace.environment["HF_ENDPOINT"] = "http://127.0.0.1:1"
    with pytest.raises(InfrastructureError):
        fetch(workplace)


def test_a_model_that_does_not_fit_is_not_begun(
    workplace: Workplace, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("safety_worker.transport.places.shutil.disk_usage", lambda _: full)
    with pytest.raises(InfrastructureError) as caught:
        fetch(workplace)
    assert caught.value.reason == "ArtifactStoreFull"
    assert "0.01 GiB, 0.00 GiB are free" in caught.value.message
    assert hub.downloads == []


def test_the_data_files_of_a_repository_or_of_a_folder_of_it(workplace: Workplace, hub: FakeHub) -> None:
    line = b'{"prompt": "x"}\n'
    hub.files = {
        "data/a.jsonl": line,
        "data/more/b.jsonl": line,
        "c.jsonl": line,
        "run.py": b"",
        "d[1].csv": b"p",
    }
    found = resolve_files("hf://datasets/org/small", workplace.context)
    assert [file.name for file in found] == ["c.jsonl", "d[1].csv", "data/a.jsonl", "data/more/b.jsonl"]
    found = resolve_files("hf://datasets/org/small@main/data", workplace.context)
    assert [file.name for file in found] == ["a.jsonl", "more/b.jsonl"]
    (one,) = resolve_files("hf://datasets/org/small/data/a.jsonl", workplace.context)
    assert (one.name, one.path.read_bytes()) == ("a.jsonl", line)
    with pytest.raises(InputError, match="no file or folder elsewhere"):
        resolve_files("hf://datasets/org/small/elsewhere", workplace.context)


@pytest.mark.parametrize(
    "name", ["../../evil.jsonl", "/etc/evil.jsonl", "a/../../evil.jsonl", "a\\..\\e.jsonl", "a\nb.jsonl"]
)
def test_a_listing_that_leaves_its_folder_is_refused(name: str, workplace: Workplace, hub: FakeHub) -> None:
    hub.files = {"good.jsonl": b'{"prompt": "x"}\n', name: b'{"prompt": "x"}\n'}
    with pytest.raises(InputError) as caught:
        resolve_files("hf://datasets/org/small", workplace.context)
    assert caught.value.reason == "UnsafePath"
    assert hub.downloads == []


def test_names_in_any_script_are_names(workplace: Workplace, hub: FakeHub) -> None:
    names = [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.jsonl",
        "donn\u00e9es\u00a0libres.jsonl",
        "\U0001f469\u200d\U0001f52c.jsonl",
    ]
    hub.files = dict.fromkeys(names, b'{"prompt": "x"}\n')
    files = resolve_files("hf://datasets/org/small", workplace.context)
    assert sorted(file.name for file in files) == sorted(names)


def test_a_name_that_no_folder_can_hold_is_refused(workplace: Workplace, hub: FakeHub) -> None:
    line = b'{"prompt": "x"}\n'
    for names, reason in (
        (["a.jsonl", "a.jsonl/b.jsonl"], "NameClash"),
        (["x" * 256 + ".jsonl"], "UnsafePath"),
    ):
        hub.files = dict.fromkeys(names, line)
        with pytest.raises(InputError) as caught:
            resolve_files("hf://datasets/org/small", workplace.context)
        assert caught.value.reason == reason
    assert hub.downloads == []


@pytest.mark.parametrize("uri", ["hf://org/small", "hf://datasets/org/small"])
def test_a_token_from_a_file_comes_without_its_line_end(uri: str, workplace: Workplace, hub: FakeHub) -> None:
    hub.token, hub.files = SECRET, {**MODEL, "a.jsonl": b'{"prompt": "x"}\n'}
    workplace.environment["TOKEN"] = f"{SECRET}\n"
    if "datasets" in uri:
        resolve_files(uri, workplace.context, "TOKEN")
    else:
        fetch(workplace, uri, token_env="TOKEN")
    workplace.environment["TOKEN"] = ""
    with pytest.raises(InputError, match="MissingSecret"):
        resolve_files("hf://datasets/org/small", workplace.context, "TOKEN")


def test_neither_the_log_nor_the_record_of_a_pod_shows_the_token(
    workplace: Workplace, hub: FakeHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.token = "another"
    environment = {
        "SAFETY_STAGE_SPEC": workplace.spec("fetch", uri="hf://org/small", token_env="TOKEN").to_json(),
        "SAFETY_TERMINATION_LOG": str(tmp_path / "termination"),
        "HF_ENDPOINT": hub.endpoint,
        "TOKEN": SECRET,
    }
    assert cli.run_command(None, environment) == EXIT_INPUT
    out, err = capfd.readouterr()
    record = (tmp_path / "termination").read_text()
    assert "let tokenSecretRef name a token that may read it" in err
    assert "let tokenSecretRef name a token that may read it" in record
    assert "topsecret" not in out + err + record
