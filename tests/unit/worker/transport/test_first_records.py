"""The first records of data sets on a hub that is a fake: what comes after them is not asked for."""

import gzip
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.worker.conftest import Workplace, resolve_files
from tests.unit.worker.fake_hub import FakeHub

from safety_records.data import Dataset, Source
from safety_records.presets import PRESET_URIS
from safety_records.result import StageResult
from safety_worker.blending.collected import SOURCES_NAME, read_collected
from safety_worker.blending.mixing import ONLY_REFUSALS
from safety_worker.datasets import first_records
from safety_worker.datasets.loading import open_dataset
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport import download

SECRET = "hf_" + "topsecret" * 3
MIB = 1024**2
IN_BUFFERS = 8 * MIB
"""What may be on its way when nobody asks any more, in buffers of sockets."""


def lines(category: str, count: int, padding: int = 0) -> bytes:
    """Records as llama-nemotron has them."""
    return b"".join(
        json.dumps(
            {
                "input": [{"role": "user", "content": f"{category} question {number}"}],
                "output": f"answer {number}" + "x" * padding,
                "category": category,
            }
        ).encode()
        + b"\n"
        for number in range(count)
    )


HUGE = lines("math", 40_000, padding=1000)  # 43 MB


def parquet(groups: int) -> bytes:
    """Row groups of 1 MB of prompts that cannot be compressed."""
    noise = random.Random(0)
    buffer = io.BytesIO()
    schema = pa.schema([("prompt", pa.string())])
    with pq.ParquetWriter(buffer, schema) as writer:
        for group in range(groups):
            prompts = [f"{group} {number} {noise.randbytes(5000).hex()}" for number in range(100)]
            writer.write_table(pa.table({"prompt": prompts}, schema))
    return buffer.getvalue()


@pytest.fixture
def hub(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    monkeypatch.setitem(PRESET_URIS, "llama-nemotron", "hf://org/small/SFT")
    with FakeHub({}) as server:
        workplace.environment["HF_ENDPOINT"] = server.endpoint
        yield server


def nemotron(records: int | None, **subsets: int) -> Source:
    uri = PRESET_URIS["llama-nemotron"]
    dataset = Dataset(preset="llama-nemotron", uri=uri, token_env="TOKEN", max_records=records)
    return Source(name="nemotron", dataset=dataset, subsets=subsets)


def collect(workplace: Workplace, retain: Source, out: str = "collect") -> StageResult:
    workplace.environment["TOKEN"] = SECRET
    uri = workplace.configmap("own", "p.jsonl", '{"prompt": "how does one pick a lock"}\n')
    own = Source(name="own", dataset=Dataset(uri=uri))
    return workplace.run("collect", sources=[own], retain=[retain], out=out)


def test_of_each_subset_only_the_first_records_are_fetched(workplace: Workplace, hub: FakeHub) -> None:
    hub.files = {
        "SFT/math/math_v1.1.jsonl": HUGE,
        "SFT/math/math_v1.jsonl": HUGE,
        "SFT/code/code.jsonl": lines("code", 30),
        "SFT/chat/chat.jsonl": lines("chat", 30),
        "SFT/science/science.jsonl": HUGE,
    }
    result = collect(workplace, nemotron(200, math=50, code=20, chat=5))
    assert hub.downloads == ["SFT/chat/chat.jsonl", "SFT/code/code.jsonl", "SFT/math/math_v1.1.jsonl"]
    assert hub.sent < IN_BUFFERS < len(HUGE)
    assert result.rows == 76
    assert {item.source: item.read for item in result.counts} == {"own": 1, "nemotron": 260}
    (warning,) = (text for text in result.warnings if "nemotron" in text)
    assert warning == (
        "source nemotron: only the first 200 records of hf://org/small/SFT/math were read (maxRecords)"
    )
    folder = workplace.artifacts / "collect"
    assert {row.origin.index for row in read_collected(folder) if row.categories == ("math",)} <= set(
        range(200)
    )
    (described,) = (
        item for item in json.loads((folder / SOURCES_NAME).read_text()) if item["name"] == "nemotron"
    )
    assert described["max_records"] == 200
    assert result.inputs["source nemotron, first 200 records"] == described["digest"]
    sources = [file.stat().st_size for file in workplace.context.scratch.rglob("*") if file.is_file()]
    assert sum(sources) < 200 * 1200 + 60 * 200, "nothing else is on the disk"


def test_a_source_that_has_no_more_is_read_whole_and_not_called_cut(
    workplace: Workplace, hub: FakeHub
) -> None:
    hub.files = {"SFT/chat/chat.jsonl": lines("chat", 30)}
    whole = collect(workplace, nemotron(None, chat=5), "whole")
    bounded = collect(workplace, nemotron(30, chat=5), "bounded")
    assert hub.downloads == ["SFT/chat/chat.jsonl"] * 2
    for name in (SOURCES_NAME, "rows.jsonl"):
        left, right = (workplace.artifacts / out / name for out in ("whole", "bounded"))
        assert left.read_bytes() == right.read_bytes()
    assert bounded.warnings == whole.warnings


def test_what_lies_behind_in_a_compressed_file_is_not_fetched(workplace: Workplace, hub: FakeHub) -> None:
    noise = random.Random(0)
    content = b"".join(b'{"prompt": "%s"}\n' % noise.randbytes(500).hex().encode() for _ in range(40_000))
    hub.files = {"x.jsonl.gz": gzip.compress(content, 1)}
    (file,) = resolve_files("hf://org/small/x.jsonl.gz", workplace.context, max_records=10)
    assert file.path.read_bytes() == b"".join(content.splitlines(keepends=True)[:10])
    assert file.cut
    assert hub.sent < IN_BUFFERS < len(hub.files["x.jsonl.gz"])


def test_of_parquet_footer_and_row_groups_are_fetched_with_the_token(
    workplace: Workplace, hub: FakeHub
) -> None:
    hub.files = {"data/a.parquet": parquet(30), "data/b.parquet": b"never asked for"}
    hub.token = workplace.environment["TOKEN"] = SECRET
    data = Dataset(uri="hf://org/small/data", token_env="TOKEN", max_records=150)
    source = open_dataset("x", data, workplace.context)
    assert [row.prompt.split()[:2] for row in source.rows()] == [
        [str(number // 100), str(number % 100)] for number in range(150)
    ]
    assert hub.sent < 2 * IN_BUFFERS < len(hub.files["data/a.parquet"])
    assert set(hub.downloads) == {"data/a.parquet"}
    (file,) = source.files
    assert 1.9 * MIB < file.path.stat().st_size < 2.1 * MIB
    assert source.cut == ("hf://org/small/data",)
    again = open_dataset("x", data.model_copy(update={"max_records": 151}), workplace.context)
    assert again.digest == source.digest, "over the row groups that were read"
    assert {item.authorization for item in hub.asked if item.host != "127.0.0.1"} == {""}


def test_a_gated_data_set_without_a_token_is_said(workplace: Workplace, hub: FakeHub) -> None:
    hub.files, hub.token, hub.gated = {"a.jsonl": b"{}"}, SECRET, True
    with pytest.raises(InputError, match=r"GatedRepository: .* set tokenSecretRef"):
        resolve_files("hf://org/small", workplace.context, max_records=5)


def test_a_run_that_was_cut_off_gives_the_same_as_one_that_was_not(
    workplace: Workplace, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage host breaks off in the middle of records, first now and then, later for good."""
    monkeypatch.setattr("tests.unit.worker.fake_hub.LARGE", (".jsonl",))
    hub.files = {"SFT/math/math.jsonl": HUGE}
    source = nemotron(9_000, math=70)
    hub.budget = 5_000_001
    with pytest.raises(InfrastructureError) as caught:
        collect(workplace, source)
    assert caught.value.reason == "DownloadCutOff"
    assert not (workplace.artifacts / "collect" / SOURCES_NAME).exists()
    hub.budget = None
    collect(workplace, source)
    other = tmp_path / "other"
    other.mkdir()
    fresh = Workplace(other)
    fresh.environment["HF_ENDPOINT"] = hub.endpoint
    collect(fresh, source)
    for name in (SOURCES_NAME, "rows.jsonl"):
        left, right = (place.artifacts / "collect" / name for place in (workplace, fresh))
        assert left.read_bytes() == right.read_bytes()


def test_another_digest_than_the_hub_says_is_damage(workplace: Workplace, hub: FakeHub) -> None:
    hub.files, hub.wrong_digest = {"a.parquet": parquet(2)}, True
    assert resolve_files("hf://org/small", workplace.context, max_records=5)[0].cut
    with pytest.raises(InfrastructureError, match="another digest"):
        resolve_files("hf://org/small", workplace.context, max_records=500)


def test_what_is_too_large_to_be_read_whole_is_not_begun(
    workplace: Workplace, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = {f"SFT/math/{number}.jsonl": lines("math", 100) for number in range(3)}
    monkeypatch.setattr(first_records, "MAX_WHOLE_BYTES", len(lines("math", 100)) * 2)
    with pytest.raises(
        InputError, match=r"hf://org/small/SFT/math has 0.0 GiB; .*: set maxRecords"
    ) as caught:
        collect(workplace, nemotron(None, math=5))
    assert caught.value.reason == "SourceTooLarge"
    assert hub.downloads == []
    assert collect(workplace, nemotron(250, math=5)).rows == 6


@pytest.mark.parametrize("constant", ["datasets.first_records.MAX_WHOLE_BYTES", "stages.collect.MAX_RECORDS"])
def test_a_claim_has_sources_that_are_too_large_as_well(
    constant: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"safety_worker.{constant}", 99)
    uri = workplace.configmap("claim", "p.jsonl", lines("chat", 100))
    source = Source(name="large", dataset=Dataset(preset="llama-nemotron", uri=uri))
    with pytest.raises(InputError, match=r"SourceTooLarge: .*set maxRecords"):
        workplace.run("collect", sources=[source])
    dataset = source.dataset.model_copy(update={"max_records": 99})
    assert workplace.run("collect", sources=[source.model_copy(update={"dataset": dataset})]).rows == 99


def test_what_would_fill_the_scratch_volume_is_not_begun(
    workplace: Workplace, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = {"SFT/math/m.jsonl": HUGE}
    full = type("Usage", (), {"free": 60_000_000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    monkeypatch.setattr(first_records, "SMALL_BYTES", 10_000_000)
    with pytest.raises(InputError, match=r"SourceTooLarge: .* no more than half of its scratch volume"):
        collect(workplace, nemotron(None, math=5))
    assert hub.downloads == []


def test_a_beginning_is_not_called_changed_since_it_was_published(workplace: Workplace, hub: FakeHub) -> None:
    rows = b"".join(
        json.dumps({"prompt": f"question {number}", "violated_categories": "x"}).encode() + b"\n"
        for number in range(50)
    )
    hub.files = {"train.jsonl": rows}
    dataset = Dataset(preset="aegis-v2", uri="hf://org/small/train.jsonl", max_records=20)
    result = workplace.run("collect", sources=[Source(name="aegis", dataset=dataset)])
    assert result.warnings == (
        "source aegis: only the first 20 records of hf://org/small/train.jsonl were read (maxRecords)",
        ONLY_REFUSALS,
    )
    dataset = dataset.model_copy(update={"max_records": 50})
    result = workplace.run("collect", sources=[Source(name="aegis", dataset=dataset)], out="whole")
    assert any("50 records, but 30007 were published" in text for text in result.warnings)


@pytest.mark.parametrize("preset", ["do-not-answer", "harmful-tasks"])
def test_presets_that_are_read_whole_have_no_beginning(preset: str, workplace: Workplace) -> None:
    dataset = Dataset(preset=preset, uri=PRESET_URIS[preset], max_records=5)
    with pytest.raises(InputError, match="is read whole: leave maxRecords out"):
        open_dataset("x", dataset, workplace.context)


def test_a_category_that_may_lie_behind_is_said_to(workplace: Workplace, hub: FakeHub) -> None:
    hub.files = {"SFT/x.jsonl": lines("chat", 9) + lines("math", 9)}
    source = nemotron(9).model_copy(update={"categories": ("math",)})
    with pytest.raises(InputError, match=r"UnknownCategory: .*maxRecords: only the first 9 were read"):
        collect(workplace, source)
