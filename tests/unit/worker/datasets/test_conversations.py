"""Data sets with several turns and system prompts: read, asked, told apart."""

import json

import pytest
from tests.unit.worker.conftest import GREEDY, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply

from safety_records.data import Columns, Dataset
from safety_records.eval_stages import EvalSuite
from safety_worker.datasets.conversation import MAX_TURNS, Conversation, read_conversation
from safety_worker.datasets.loading import load_dataset
from safety_worker.datasets.sampling import deduplicate
from safety_worker.errors import InputError
from safety_worker.generation.shards import read_rows
from safety_worker.rows import GeneratedRow, Message, row_digest

TALK = [
    {"role": "system", "content": "You are a nurse."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "How much is too much?"},
]


def test_a_conversation_is_taken_apart() -> None:
    found = read_conversation(TALK)
    assert isinstance(found, Conversation)
    assert found.prompt == "How much is too much?"
    assert [message.role for message in found.context] == ["system", "user", "assistant"]
    assert found.response == ""
    assert read_conversation(json.dumps(TALK)) == found


def test_a_conversation_kept_as_an_object_of_lists_is_the_same() -> None:
    lists = {key: [turn[key] for turn in TALK] for key in ("role", "content")}
    assert read_conversation(lists) == read_conversation(TALK)
    assert read_conversation(json.dumps(lists)) == read_conversation(TALK)
    for other in ({"role": "user", "content": "x"}, {"role": ["user"], "content": []}, {"role": []}, {}):
        assert isinstance(read_conversation(other), str)


def test_a_last_answer_is_the_response() -> None:
    found = read_conversation([*TALK, {"role": "assistant", "content": "Four grams."}])
    assert isinstance(found, Conversation)
    assert (found.prompt, found.response) == ("How much is too much?", "Four grams.")


def test_other_fields_of_a_turn_are_left_out_but_calls_of_tools() -> None:
    more = [turn | {"name": "x", "tokens": 3, "tool_calls": None, "function_call": {}} for turn in TALK]
    assert read_conversation(more) == read_conversation(TALK)
    for key in ("tool_calls", "function_call"):
        problem = read_conversation([*TALK, {"role": "assistant", "content": "", key: [{"name": "f"}]}])
        assert isinstance(problem, str)
        assert problem.endswith("without tools")


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "hello",
        "[[[",
        "[" * 100_000,
        [],
        [{"role": "user"}],
        [{"role": "tool", "content": "x"}],
        [{"role": "user", "content": ["parts"]}],
        [{"role": "assistant", "content": "x"}],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": "  "}],
        [
            {"role": "user", "content": "a"},
            {"role": "system", "content": "b"},
            {"role": "user", "content": "c"},
        ],
        [{"role": "user", "content": "\ud800"}],
        [{"role": "user", "content": "x"}] * (MAX_TURNS + 1),
        [{"role": "user", "content": "x" * 200_001}],
    ],
)
def test_a_malformed_conversation_is_a_problem_and_no_crash(value: object) -> None:
    problem = read_conversation(value)
    assert isinstance(problem, str)
    assert problem.startswith("the conversation")


def test_rows_after_different_turns_are_different_rows(workplace: Workplace) -> None:
    other = [{"role": "user", "content": "Bye"}, *TALK[2:]]
    rows = [{"talk": TALK}, {"talk": other}, {"talk": TALK}, {"talk": [TALK[3]]}]
    uri = workplace.configmap("d", "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    data = load_dataset("d", Dataset(uri=uri, columns=Columns(messages="talk")), workplace.context)
    assert len(deduplicate(data.rows).kept) == 3
    assert data.rows[3].digest == row_digest("How much is too much?"), "digests of single turns stay"


def test_the_model_is_asked_the_whole_conversation(workplace: Workplace) -> None:
    rows = [{"talk": TALK}, {"talk": TALK[1:]}, {"talk": [TALK[3]], "rule": "Be short."}]
    uri = workplace.configmap("d", "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    suite = EvalSuite(
        name="talks",
        dataset=Dataset(uri=uri, columns=Columns(messages="talk", system="rule")),
        judge="j",
        system="You are kind.",
    )
    with FakeModelServer(lambda *_: Reply("fine")) as server:
        workplace.run("generate", target=served(server.base_url), sampling=GREEDY, suites=[suite])
        asked = [body["messages"] for body in server.bodies]
    assert sorted(len(messages) for messages in asked) == [2, 4, 4]
    first = {messages[0]["content"] for messages in asked}
    assert first == {"You are a nurse.", "You are kind.", "Be short."}
    assert TALK in asked
    stored = read_rows(workplace.folder("generate"), "rows", GeneratedRow).values()
    assert {row.prompt for row in stored} == {"How much is too much?"}
    assert Message(role="system", content="You are kind.") in {m for row in stored for m in row.context}


def test_a_column_without_conversations_is_said(workplace: Workplace) -> None:
    uri = workplace.configmap("d", "d.jsonl", json.dumps({"prompt": "x"}) + "\n")
    with pytest.raises(InputError, match=r"columns\.messages"):
        load_dataset("d", Dataset(uri=uri, columns=Columns(messages="talk")), workplace.context)
