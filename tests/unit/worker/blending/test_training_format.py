"""What the readers of training files ask of them, stated without those readers.

NeMo-RL's ``openai_format`` (NVIDIA-NeMo/RL, docs/guides/sft.md, and OpenAIFormatDataset, August 2026) loads
JSON lines by Datasets, whose reader is Arrow's, or line by line in text mode to keep schemas apart; asks
for ``messages`` whose last one is the assistant's; and hands them to the tokenizer's chat template unchanged.
``tests/worker_models/worker/test_blend_output.py`` reads the files with the real Datasets and TRL.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.json
import pytest
from tests.unit.worker.conftest import PHRASES, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply

from safety_records.data import Columns, Dataset, Source

HOSTILE = 'line\u2028one\u0085two\r\nthree\x0bfour\x00 "quoted" \\n </s> {{ x }} \U0001f642 \ufeff'
"""Everything that some reader takes for the end of a line, or of a text."""


def talk(number: int, *, system: bool) -> dict[str, object]:
    turns = [
        ("user", f"first {number} {HOSTILE}"),
        ("assistant", f"between {number}"),
        ("user", f"last {number} {HOSTILE}"),
        ("assistant", f"end {number} {HOSTILE}"),
    ]
    turns = [("system", "Be brief."), *turns] if system else turns
    return {"talk": [{"role": role, "content": text, "name": "x"} for role, text in turns], "tools": []}


@pytest.fixture
def folder(workplace: Workplace) -> Path:
    talks = "".join(json.dumps(talk(n, system=n % 2 == 0)) + "\n" for n in range(12))
    prompts = "".join(json.dumps({"prompt": f"harm {n} {HOSTILE}"}) + "\n" for n in range(8))
    red = Source(name="red", dataset=Dataset(uri=workplace.configmap("red", "d.jsonl", prompts)))
    columns = Columns(messages="talk")
    kept = Dataset(uri=workplace.configmap("kept", "d.jsonl", talks), columns=columns)
    workplace.run("collect", sources=[red], retain=[Source(name="kept", dataset=kept)])
    paths = {name: f"demo/safetyeval/base/run/{stage}" for name, stage in STAGES.items()}
    with FakeModelServer(lambda *_: Reply("I'm sorry, but I can't help with that.")) as server:
        sampling = {"temperature": 0.0}
        target = served(server.base_url)
        workplace.run("answer", collected=paths["collected"], target=target, sampling=sampling)
    workplace.run("judge", generated=paths["answered"], judges=[PHRASES])
    workplace.run("assemble", **paths, validation=0.2)
    return workplace.folder("assemble")


STAGES = {"collected": "collect", "answered": "answer", "judged": "judge"}
PARTS = ("train.jsonl", "validation.jsonl")


@pytest.mark.parametrize("name", PARTS)
def test_every_line_is_a_conversation_that_the_assistant_ends(folder: Path, name: str) -> None:
    with (folder / name).open("r", encoding="utf-8") as stream:  # as NeMo-RL: universal line ends
        rows = [json.loads(line) for line in stream]
    assert rows
    for row in rows:
        assert set(row) == {"messages"}, "a column of tools would be handed to the chat template"
        roles = [message["role"] for message in row["messages"]]
        assert roles[-1] == "assistant"
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(set(message) == {"role", "content"} for message in row["messages"])
        assert all(message["content"].strip() for message in row["messages"])


@pytest.mark.parametrize("name", PARTS)
def test_arrows_json_reader_finds_one_schema_and_every_row(folder: Path, name: str) -> None:
    table = pyarrow.json.read_json(folder / name)
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    assert table.schema.names == ["messages"]
    assert table.schema.field("messages").type.value_type.equals(message)
    assert len(table) == len((folder / name).read_bytes().splitlines())


def test_all_rows_are_there_and_no_text_has_changed(folder: Path) -> None:
    rows = [row for name in PARTS for row in pyarrow.json.read_json(folder / name).to_pylist()]
    said = [[message["content"] for message in row["messages"]] for row in rows]
    assert len(said) == 20
    assert sum(texts[0] == "Be brief." for texts in said) == 6
    assert sum(texts[-2].startswith("harm ") and texts[-2].endswith(HOSTILE) for texts in said) == 8
    assert sum(texts[-1].startswith("end ") for texts in said) == 12
