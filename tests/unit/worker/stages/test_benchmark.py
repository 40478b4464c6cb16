"""The benchmark stage with a fake lm-eval (see ``fake_lm_eval``) and a fake target."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.unit.worker.conftest import Workplace, served
from tests.unit.worker.fake_hub import FakeHub
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.unit.worker.support.secure_server import SecureServer, write_chain
from tests.unit.worker.support.server_kinds import FIXED_TEMPERATURE, UNSUPPORTED_MAX, when

from safety_worker import subprocesses
from safety_worker.benchmarks import launcher
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation import target
from safety_worker.stages import benchmark as stage

ROWS = "".join(
    json.dumps({"question": f"Question {n}?", "choices": ["a", "b"], "answer": n % 2}) + "\n"
    for n in range(10)
)


@pytest.fixture(autouse=True)
def _fake_lm_eval(monkeypatch: pytest.MonkeyPatch, workplace: Workplace, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocesses, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(target, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(stage, "version", lambda _name: "0.4.13")
    workplace.environment |= os.environ
    workplace.environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "benchmarks/fake_lm_eval")
    workplace.environment["FAKE_LM_EVAL_LOG"] = str(tmp_path / "lm-eval.log")


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer(lambda _prompt, _nth: Reply()) as fake:
        yield fake


def measure(
    workplace: Workplace, server: FakeModelServer, *entries: dict[str, Any], **fields: Any
) -> list[Any]:
    fields = {
        "target": served(server.base_url, path="models/m", max_length=2048),
        "accuracy": entries,
        **fields,
    }
    workplace.run("benchmark", **fields)
    summary = json.loads((workplace.folder("benchmark") / "tasks.json").read_text(encoding="utf-8"))
    assert summary["lmEvalVersion"] == "0.4.13"
    return summary["tasks"]


def runs(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "lm-eval.log").read_text(encoding="utf-8").splitlines()]


def local(workplace: Workplace, name: str = "knowledge", **fields: Any) -> dict[str, Any]:
    return {"name": name, "dataset": {"uri": workplace.configmap("data", "rows.jsonl", ROWS)}, **fields}


def test_a_local_data_set(workplace: Workplace, server: FakeModelServer, tmp_path: Path) -> None:
    (task,) = measure(workplace, server, local(workplace))
    assert set(task.pop("identity")) == {"task", "dataset", "sampling"}
    assert task == {
        "name": "knowledge",
        "metric": "acc",
        "value": 0.5,
        "stderr": 0.1,
        "correct": 5,
        "samples": 10,
        "missing": "",
        "drawn": "",
    }
    (run,) = runs(tmp_path)
    model = json.loads(run["model_args"])
    assert run["model"] == "local-completions"
    assert model["base_url"] == f"{server.base_url}/completions"
    assert model["tokenizer"] == f"{workplace.artifacts}/models/m"
    assert (model["seed"], run["seed"], model["num_concurrent"]) == (42, "42", 32)
    assert run["log_samples"]
    assert run["num_fewshot"] == "0"
    assert run["environment"]["HF_HUB_OFFLINE"] == run["environment"]["TRANSFORMERS_OFFLINE"] == "1"


def test_what_is_left_out_of_a_folder_of_questions_is_said_also_when_it_is_not_read_again(
    workplace: Workplace, server: FakeModelServer
) -> None:
    folder = workplace.inputs / "pvc/claim/exam"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(ROWS)
    (folder / "notes.txt").write_text("see the wiki\n")
    entry = {"name": "own", "dataset": {"uri": "pvc://claim/exam"}}
    target = served(server.base_url, path="models/m", max_length=2048)
    for _ in range(2):
        result = workplace.run("benchmark", target=target, accuracy=(entry,))
        assert "accuracy own: notes.txt not read: next to files of records" in result.warnings


def test_questions_behind_a_token_are_read_with_it(workplace: Workplace, server: FakeModelServer) -> None:
    with FakeHub({"a.jsonl": ROWS.encode()}, token="secret") as hub:
        workplace.environment |= {"HF_ENDPOINT": hub.endpoint, "TOKEN": "secret"}
        (task,) = measure(
            workplace, server, {"name": "own", "dataset": {"uri": "hf://org/small"}, "token_env": "TOKEN"}
        )
    assert task["samples"] == 10


def test_samples_are_kept_for_paired_tests(workplace: Workplace, server: FakeModelServer) -> None:
    measure(workplace, server, local(workplace))
    lines = (
        (workplace.folder("benchmark") / "samples-knowledge.jsonl").read_text(encoding="utf-8").splitlines()
    )
    samples = [json.loads(line) for line in lines]
    assert len({sample["id"] for sample in samples}) == 10
    assert samples == sorted(samples, key=lambda sample: sample["id"])
    assert sum(sample["correct"] for sample in samples) == 5


def test_a_limit_draws(workplace: Workplace, server: FakeModelServer) -> None:
    some, every = measure(workplace, server, local(workplace, limit=4), local(workplace, "every", limit=40))
    assert (some["samples"], some["drawn"]) == (4, "4 of 10, seed 42")
    assert (every["samples"], every["drawn"]) == (10, "")


def test_a_metric_that_is_neither_right_nor_wrong_has_no_count(
    workplace: Workplace, server: FakeModelServer
) -> None:
    tasks = measure(workplace, server, {"name": "essay", "tasks": ["graded"]})
    assert [(task["metric"], task["value"], task["stderr"], task["correct"]) for task in tasks] == [
        ("score.flexible", 0.25, None, None),
        ("other", 0.5, None, None),
    ]
    assert not (workplace.folder("benchmark") / "samples-essay.jsonl").exists()


def test_a_task_that_fails_is_missing_and_the_others_count(
    workplace: Workplace, server: FakeModelServer
) -> None:
    tasks = measure(workplace, server, {"name": "wrong", "tasks": ["unknown_task"]}, local(workplace))
    assert tasks[0]["value"] is None
    assert tasks[0]["missing"] == "lm-eval ended with exit code 1: ValueError: Tasks not found: unknown_task"
    assert tasks[1]["value"] == 0.5


def test_a_server_that_goes_away_and_comes_back(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace.environment["FAKE_LM_EVAL_FAILS"] = "1"
    states = iter([True, False, False, True])
    monkeypatch.setattr(target.Target, "is_alive", lambda _self: next(states, True))
    (task,) = measure(workplace, server, local(workplace))
    assert task["value"] == 0.5
    assert len(runs(tmp_path)) == 2


def test_a_server_that_goes_away_each_time_is_an_infrastructure_failure(
    workplace: Workplace, server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace.environment["FAKE_LM_EVAL_FAILS"] = "9"
    states = iter([True, False] * 9)
    monkeypatch.setattr(target.Target, "is_alive", lambda _self: next(states))
    with pytest.raises(InfrastructureError, match="went away 3 times"):
        measure(workplace, server, local(workplace))


def test_finished_entries_are_kept(workplace: Workplace, server: FakeModelServer, tmp_path: Path) -> None:
    entries = [local(workplace), {"name": "wrong", "tasks": ["unknown_task"]}]
    first = measure(workplace, server, *entries)
    (workplace.folder("benchmark") / "manifest.json").unlink()
    assert measure(workplace, server, *entries) == first
    assert [run["tasks"] for run in runs(tmp_path)] == ["local_knowledge", "unknown_task", "unknown_task"]


def test_log_likelihoods_without_a_tokenizer_are_missing(
    workplace: Workplace, server: FakeModelServer
) -> None:
    (task,) = measure(workplace, server, local(workplace), target=served(server.base_url))
    assert "tokenizer" in task["missing"]
    assert task["value"] is None


SUMS = "".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(4))


def test_written_answers_need_no_tokenizer_and_are_measured_anew_with_another_pattern(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    dataset = {"uri": workplace.configmap("sums", "rows.jsonl", SUMS)}
    entries = [
        {"name": name, "dataset": dataset, "answers": "written", "answer_pattern": pattern}
        for name, pattern in (("whole", ""), ("last", "= ([0-9]+)"))
    ]
    whole, last = measure(workplace, server, *entries, target=served(server.base_url))
    assert (whole["samples"], whole["missing"]) == (4, "")
    assert whole["identity"]["sampling"] != last["identity"]["sampling"]
    assert {run["model"] for run in runs(tmp_path)} == {"local-chat-completions"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think> b</think> c", "c"),
        ("<think>The answer is c, but", ""),
        ("c", ""),
        ("</think>c STOP d", "c "),
    ],
)
def test_an_answer_that_never_leaves_its_reasoning_is_none(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks/fake_lm_eval")
    monkeypatch.delitem(sys.modules, "lm_eval", raising=False)
    client = importlib.import_module("lm_eval.models.openai_completions")
    monkeypatch.setattr(client, "postprocess_generated_text", client.postprocess_generated_text)
    launcher.require_reasoning_end()
    assert client.postprocess_generated_text(text, ["STOP"], "</think>") == expected
    assert client.postprocess_generated_text("plain", None, None) == "plain"


def test_a_reasoning_model_is_asked_through_the_launcher(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    entry = {"name": "w", "tasks": ["written"], "chat_template": True, "reasoning_end": "</think>"}
    (task, _) = measure(workplace, server, entry, target=served(server.base_url))
    assert task["value"] == 0.25
    (run,) = runs(tmp_path)
    assert json.loads(run["model_args"])["think_end_token"] == "</think>"


@pytest.mark.parametrize(("pattern", "words"), [("(", "answerPattern"), ("(a)(b)", "2 groups")])
def test_a_pattern_that_is_none_is_the_users_to_mend(
    workplace: Workplace, server: FakeModelServer, pattern: str, words: str
) -> None:
    dataset = {"uri": workplace.configmap("sums", "rows.jsonl", SUMS)}
    entry = {"name": "sums", "dataset": dataset, "answers": "written", "answer_pattern": pattern}
    with pytest.raises(InputError, match=words):
        measure(workplace, server, entry)


def test_what_the_server_refuses_of_lm_evals_settings_is_named_before_it_runs(
    workplace: Workplace, tmp_path: Path
) -> None:
    with FakeModelServer(lambda *_: Reply(), refuses=lambda _: UNSUPPORTED_MAX) as server:
        entry = {"name": "w", "tasks": ["written"]}
        (task,) = measure(workplace, server, entry, target=served(server.base_url))
    assert task["value"] is None
    assert "HTTP 400: refuses max_tokens (unsupported_parameter)" in task["missing"]
    assert not (tmp_path / "lm-eval.log").exists()


def test_what_the_server_refuses_of_a_tasks_own_settings_is_named_when_lm_eval_fails(
    workplace: Workplace,
) -> None:
    cold = when(lambda body: body.get("temperature") == 0, FIXED_TEMPERATURE)
    workplace.environment["FAKE_LM_EVAL_FAILS"] = "1"
    with FakeModelServer(lambda *_: Reply(), refuses=cold) as server:
        entry = {"name": "w", "tasks": ["written"]}
        (task,) = measure(workplace, server, entry, target=served(server.base_url))
    assert "refuses temperature (unsupported_value): set temperature" in task["missing"]


def test_a_model_that_the_server_does_not_have_is_the_users_to_mend(
    workplace: Workplace, server: FakeModelServer
) -> None:
    other = served(server.base_url).model_copy(update={"model": "other"})
    with pytest.raises(InputError, match=r"ModelNotServed: .*'other'"):
        measure(workplace, server, {"name": "w", "tasks": ["written"]}, target=other)


def test_an_endpoint_is_asked_through_its_chat_route(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    (task, _) = measure(
        workplace, server, {"name": "w", "tasks": ["written"]}, target=served(server.base_url)
    )
    assert task["value"] == 0.25
    (run,) = runs(tmp_path)
    assert run["model"] == "local-chat-completions"
    assert json.loads(run["model_args"])["base_url"] == f"{server.base_url}/chat/completions"
    assert run["apply_chat_template"]
    assert run["num_fewshot"] is None


def test_lm_eval_asks_rails_that_speak_tls_by_a_way_that_checks_their_certificate(
    workplace: Workplace, tmp_path: Path
) -> None:
    issued = trustme.CA().issue_cert("assistant.example.com")
    workplace.environment |= {"FAKE_LM_EVAL_ASKS": "1", "http_proxy": "http://127.0.0.1:9"}
    with SecureServer(issued, lambda _prompt, _nth: Reply()) as server:
        target = served(server.base_url, certificate=write_chain(tmp_path / "tls.crt", issued))
        (task, _) = measure(workplace, server, {"name": "w", "tasks": ["written"]}, target=target)
    assert (task["value"], task["missing"]) == (0.25, "")


def test_generation_arguments_have_lm_evals_names(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    generation = {"temperature": 0.6, "topP": 0.95, "maxTokens": 4096, "stop": ["\n\n", 'a,b="c"']}
    entry = {"name": "w", "tasks": ["written"], "generation": generation, "chatTemplate": True}
    measure(workplace, server, entry | {"reasoningEnd": "</think>", "numFewshot": 2, "limit": 3})
    (run,) = runs(tmp_path)
    assert json.loads(run["gen_kwargs"]) == {
        "temperature": 0.6, "top_p": 0.95, "max_gen_toks": 4096, "until": ["\n\n", 'a,b="c"'],
        "do_sample": True,
    }  # fmt: skip
    assert json.loads(run["model_args"])["think_end_token"] == "</think>"
    assert (run["num_fewshot"], run["limit"]) == ("2", "3")


def test_a_metric_and_its_filter_can_be_named(workplace: Workplace, server: FakeModelServer) -> None:
    tasks = measure(
        workplace,
        server,
        {"name": "loose", "tasks": ["written"], "metric": "exact_match.loose"},
        {"name": "first", "tasks": ["written"], "metric": "exact_match"},
        {"name": "wrong", "tasks": ["written"], "metric": "acc"},
    )
    first = {task["name"]: task for task in reversed(tasks)}
    assert (first["loose"]["metric"], first["loose"]["correct"], first["loose"]["samples"]) == (
        "exact_match.loose", 2, 4,
    )  # fmt: skip
    assert first["first"]["correct"] == 1
    assert first["wrong"]["value"] is None
    assert first["wrong"]["missing"] == (
        "written has no metric acc, it has exact_match.strict, exact_match.loose"
    )


def test_graded_answers_are_kept_by_their_values(workplace: Workplace, server: FakeModelServer) -> None:
    (task,) = measure(workplace, server, {"name": "f1", "tasks": ["partial"]})
    assert (task["value"], task["stderr"], task["correct"]) == (0.5, 0.1, None)
    lines = (workplace.folder("benchmark") / "samples-f1.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": "h0", "value": 0.25}, {"id": "h1", "value": 0.75}, {"id": "h2", "value": 0.5},
    ]  # fmt: skip


def test_a_hub_task_may_ask_the_hub_with_its_own_token(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    workplace.environment["DATA_TOKEN_0"] = "hf_secret"
    entry = {"name": "w", "tasks": ["written"]}
    measure(workplace, server, entry | {"tokenEnv": "DATA_TOKEN_0"}, entry | {"name": "open"})
    gated, open_ = (run["environment"] for run in runs(tmp_path))
    assert gated["HF_TOKEN"] == "hf_secret"
    assert gated["HF_HUB_OFFLINE"] == gated["TRANSFORMERS_OFFLINE"] == "0"
    assert "HF_TOKEN" not in open_
    assert "hf_secret" not in (workplace.folder("benchmark") / "tasks.json").read_text()


def test_a_pod_without_network_stays_offline(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    workplace.environment["HF_HUB_OFFLINE"] = "1"
    measure(workplace, server, {"name": "w", "tasks": ["written"]})
    assert runs(tmp_path)[0]["environment"]["HF_HUB_OFFLINE"] == "1"


def test_a_token_that_is_empty_is_the_users_to_mend(workplace: Workplace, server: FakeModelServer) -> None:
    with pytest.raises(InputError, match="DATA_TOKEN_0 is empty"):
        measure(workplace, server, {"name": "w", "tasks": ["written"], "tokenEnv": "DATA_TOKEN_0"})


def test_a_cache_is_read_offline(workplace: Workplace, server: FakeModelServer, tmp_path: Path) -> None:
    cache = workplace.inputs / "pvc/hub/cache"
    (cache / "datasets/google___ifeval").mkdir(parents=True)
    (cache / "datasets/google___ifeval/data.arrow").write_text("x")
    measure(workplace, server, {"name": "w", "tasks": ["written"], "cache": "pvc://hub/cache"})
    (run,) = runs(tmp_path)
    environment = run["environment"]
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["HF_HUB_CACHE"] == str(cache / "hub")
    assert environment["NLTK_DATA"] == str(cache / "nltk_data")
    copied = Path(environment["HF_DATASETS_CACHE"])
    assert (copied / "google___ifeval/data.arrow").read_text() == "x"
    assert copied != cache / "datasets"


@pytest.mark.parametrize("exists", [True, False])
def test_a_cache_that_is_none_is_the_users_to_mend(
    workplace: Workplace, server: FakeModelServer, exists: bool
) -> None:
    if exists:
        (workplace.inputs / "pvc/hub/cache").mkdir(parents=True)
    with pytest.raises(InputError, match="pvc://hub/cache"):
        measure(workplace, server, {"name": "w", "tasks": ["written"], "cache": "pvc://hub/cache"})


def test_what_was_measured_in_another_way_has_another_identity(
    workplace: Workplace, server: FakeModelServer
) -> None:
    entry = {"name": "a", "tasks": ["written"]}
    entries = [
        entry,
        entry | {"name": "b"},
        entry | {"name": "c", "numFewshot": 3},
        entry | {"name": "d", "generation": {"temperature": 0.5}},
        {"name": "e", "tasks": ["partial"]},
    ]
    tasks = measure(workplace, server, *entries)
    first = {task["name"]: task["identity"] for task in reversed(tasks)}
    assert first["a"] == first["b"]
    assert first["a"]["sampling"] != first["c"]["sampling"] != first["d"]["sampling"]
    assert first["a"]["task"] != first["e"]["task"]
    assert first["a"]["dataset"] != first["e"]["dataset"]


def test_a_wrong_data_set_is_the_users_to_mend(workplace: Workplace, server: FakeModelServer) -> None:
    uri = workplace.configmap("data", "wrong.jsonl", '{"question": "x"}\n')
    with pytest.raises(InputError, match=r"wrong\.jsonl line 1: choices"):
        measure(workplace, server, {"name": "wrong", "dataset": {"uri": uri}})


def test_progress_says_how_many_requests_were_answered(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Requesting API:  10%|#| 12/96 [00:01<00:01]\rRequesting API: 50%|#| 48/96 [00:01<00:01]")
    assert stage.describe_progress("x", log, 7.4) == "lm-eval x: 7 s, 48 of 96 requests"
