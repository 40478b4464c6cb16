"""What a trained model leaves for people: a report of its own, and a card that is not in its digest."""

import json
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.support.finetunes import finetune, metrics
from tests.unit.worker.support.reports import HOSTILE
from tests.unit.worker.training.test_planning import stage

from safety_records.finetune import FinetuneReport
from safety_records.finetune_stages import ExportStage, PushStage, TrainStage
from safety_records.report_files import FINETUNE_NAMES, parse_report_uri
from safety_records.result import Pushed, StageResult, Training
from safety_worker.models.model_folder import model_files
from safety_worker.training_report import card, page, writing
from safety_worker.training_report.writing import add_push, add_report

OUT = "demo/safetyfinetune/hardened/0f9a8b7c/train-0123456789abcdef"
LINEAGE = {"base": "hf://org/base@v1", "data": "SafetyBlend blend"}


@pytest.fixture
def trained(workplace: Workplace) -> TrainStage:
    """A training whose model, base and data are in the store."""
    store = workplace.context.store
    store.complete("demo/models/base", StageResult(stage="fetch", inputs_hash="b"))
    store.complete("demo/blend", StageResult(stage="assemble", inputs_hash="d"))
    folder = store.output(OUT)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text(name)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics(40)))
    return stage(
        out=OUT,
        namespace="demo",
        name="hardened",
        model="demo/models/base",
        train="demo/blend/train.jsonl",
        lineage=LINEAGE,
    )


def complete(workplace: Workplace, spec: TrainStage | ExportStage, **changes: object) -> StageResult:
    store = workplace.context.store
    numbers = Training(step=40, steps=40, loss=0.4, resumes=2)
    result = StageResult(
        stage="train", inputs_hash="h", train_rows=320, training=numbers, versions={"trl": "1"}
    )
    files = model_files(store.path(OUT))
    return store.complete(OUT, result.model_copy(update=changes), files, partial(add_report, spec, store))


def test_the_report_is_a_folder_that_the_report_server_gives(
    workplace: Workplace, trained: TrainStage
) -> None:
    result = complete(workplace, trained)
    assert result.report is not None
    folder = parse_report_uri(f"pvc://claim/{result.report.uri}")
    assert folder is not None
    assert (folder.kind, folder.stage) == ("safetyfinetune", "report-0123456789abcdef")
    manifest = workplace.context.store.manifest(result.report.uri)
    assert manifest is not None
    assert {file.path for file in manifest.files} == FINETUNE_NAMES
    assert manifest.digest == result.report.digest
    assert result.html == f"{result.report.uri}/finetune.html"
    assert workplace.context.store.load_result(OUT, "h") == result


PUSHED = Pushed(uri="hf://org/hardened@" + "4" * 40, revision="4" * 40)


def complete_push(workplace: Workplace) -> StageResult:
    store, out = workplace.context.store, OUT.replace("train-0123", "push-9876")
    spec = PushStage(
        namespace="demo",
        kind="SafetyFinetune",
        name="hardened",
        inputs_hash="p",
        root="",
        out=out,
        model=OUT,
        digest="sha256:" + "0" * 64,
        uri="hf://org/hardened",
        replace=False,
    )
    store.output(out)
    result = StageResult(stage="push", inputs_hash="p", pushed=PUSHED)
    return store.complete(out, result, None, partial(add_push, spec, store))


def test_a_push_leaves_a_report_that_names_it_and_changes_none(
    workplace: Workplace, trained: TrainStage
) -> None:
    store = workplace.context.store
    before = complete(workplace, trained)
    pushed = complete_push(workplace)
    assert before.report is not None
    assert pushed.report is not None
    assert parse_report_uri(f"pvc://claim/{pushed.report.uri}") is not None
    manifest = store.manifest(pushed.report.uri)
    assert manifest is not None
    assert {file.path for file in manifest.files} == FINETUNE_NAMES
    html = (store.path(pushed.report.uri) / "finetune.html").read_text()
    assert f"<dt>Pushed to</dt><dd><code>{PUSHED.uri}</code>" in html
    assert f'<code class="digest">{PUSHED.revision}</code>' in html
    first, second = (
        FinetuneReport.from_text((store.path(uri) / "finetune.json").read_text())
        for uri in (before.report.uri, pushed.report.uri)
    )
    assert (first.pushed, second) == (None, first.model_copy(update={"pushed": PUSHED}))
    assert "Pushed to" not in (store.path(before.report.uri) / "finetune.html").read_text()


def test_a_push_whose_report_cannot_be_written_is_a_push_with_a_warning(
    workplace: Workplace, trained: TrainStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(workplace, trained)
    monkeypatch.setattr(page, "render", lambda *_: 1 / 0)
    pushed = complete_push(workplace)
    assert (pushed.pushed, pushed.report) == (PUSHED, None)
    assert "no report of this push: ZeroDivisionError" in pushed.warnings[0]


def test_the_models_digest_is_that_of_its_files_alone(workplace: Workplace, trained: TrainStage) -> None:
    first = complete(workplace, trained)
    card_path = workplace.context.store.path(OUT) / "README.md"
    card_path.write_text("changed")
    again = complete(workplace, trained, versions={"trl": "2"})
    assert first.output == again.output
    assert first.report != again.report
    assert "- trl: `2`" in card_path.read_text()


def test_the_document_says_what_was_used_and_what_came_out(workplace: Workplace, trained: TrainStage) -> None:
    result = complete(workplace, trained)
    assert result.report is not None
    assert result.output is not None
    folder = workplace.context.store.path(result.report.uri)
    report = FinetuneReport.from_text((folder / "finetune.json").read_bytes())
    store = workplace.context.store
    base, data = store.manifest("demo/models/base"), store.manifest("demo/blend")
    assert base is not None
    assert data is not None
    assert (report.base.name, report.base.digest) == (LINEAGE["base"], base.digest)
    assert (report.data.name, report.data.digest) == (LINEAGE["data"], data.digest)
    assert (report.digest, report.train_rows, report.training.resumes) == (result.output.digest, 320, 2)
    assert report.settings["globalBatch"] == 8
    assert not {"out", "model", "lineage", "inputsHash"} & report.settings.keys()


def test_metrics_are_a_table_with_a_row_of_each_line(workplace: Workplace, trained: TrainStage) -> None:
    result = complete(workplace, trained)
    assert result.report is not None
    table = pq.read_table(workplace.context.store.path(result.report.uri) / "metrics.parquet")
    lines = metrics(40)
    assert table.column("step").to_pylist() == [line["step"] for line in lines]
    assert table.column("validation_loss").to_pylist() == [line.get("validation_loss") for line in lines]


def test_data_of_ones_own_have_the_digest_of_their_file(
    workplace: Workplace, trained: TrainStage, tmp_path: Path
) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text("")
    report = writing.describe(
        trained.model_copy(update={"train": str(own)}), complete(workplace, trained), workplace.context.store
    )
    assert report.data.digest == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_exported_model_has_the_report_of_the_training_that_it_is_of(
    workplace: Workplace, trained: TrainStage
) -> None:
    store = workplace.context.store
    folder = store.output("demo/train")
    asked = {"spec": trained.model_dump(mode="json", by_alias=True)}
    (folder / "training.json").write_text(json.dumps(asked))
    numbers = StageResult(
        stage="train", inputs_hash="t", train_rows=320, training=Training(step=40, resumes=3)
    )
    store.complete("demo/train", numbers)
    spec = workplace.spec("export", out=OUT, trained="demo/train", model="demo/models/base")
    assert isinstance(spec, ExportStage)
    result = complete(workplace, spec, training=None, train_rows=None)
    assert result.report is not None
    report = FinetuneReport.from_text((store.path(result.report.uri) / "finetune.json").read_bytes())
    assert (report.name, report.train_rows, report.training.resumes) == ("hardened", 320, 3)
    assert result.output is not None
    assert report.digest == result.output.digest
    assert report.settings["globalBatch"] == 8


def test_a_report_that_fails_costs_no_model(
    workplace: Workplace, trained: TrainStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no such row: how to ...")

    monkeypatch.setattr(page, "render", fail)
    result = complete(workplace, trained)
    assert result.output is not None
    assert result.report is None
    assert result.warnings == (
        "there is no report of this training: RuntimeError; the pod's log has the rest",
    )


def test_the_card_has_the_head_that_hubs_read() -> None:
    text = card.render(finetune())
    head = yaml.safe_load(text.split("---\n")[1])
    assert head == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "finetune",
        "base_model_revision": "main",
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "tags": ["safety", "fine-tuned", "trl"],
    }
    assert "- Learning rate: 1e-4 after 20 steps of warm-up, cosine to 0" in text
    assert "- Trained tokens: 31.2 % of all tokens, those of answers" in text
    assert "- Interruptions: 1: each time training went on from the last checkpoint" in text


@pytest.mark.parametrize("base", ["pvc://claim/model", "hf://org/name/../..", "hf://org/na me", ""])
def test_a_base_that_is_on_no_hub_is_no_base_model_of_the_head(base: str) -> None:
    head = yaml.safe_load(card.render(finetune(base={"name": base})).split("---\n")[1])
    assert "base_model" not in head


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:30].encode("unicode_escape").decode())
def test_hostile_names_stay_text_in_the_card(text: str) -> None:
    rendered = card.render(finetune(text))
    head = yaml.safe_load(rendered.split("---\n")[1])
    assert head.keys() == {"pipeline_tag", "library_name", "tags"}
    outside = "".join(rendered.split("`")[::2])
    assert "<script>" not in outside
    assert "<img" not in outside
    assert "\u202e" not in rendered
    assert rendered.count("\n# ") == 1


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:30].encode("unicode_escape").decode())
def test_hostile_names_stay_text_in_the_page(text: str) -> None:
    rendered = page.render(finetune(text), metrics(5))
    assert rendered.count("<script>") == 1
    assert "<img" not in rendered
    assert "onmouseover='" not in rendered
    assert "\u202e" not in rendered


def test_the_page_says_what_it_does_not_have() -> None:
    rendered = page.render(finetune(base={}, data={}, training={}, settings={}), [])
    assert "No metrics were recorded" in rendered
    assert "not known" in rendered
    assert "None" not in rendered
    assert "nan" not in rendered.lower().replace("namespace", "")


def test_the_table_of_many_steps_has_the_first_and_the_last() -> None:
    chosen = page.choose_steps(page.merge_steps(metrics(5_000)))
    assert len(chosen) == page.SHOWN_STEPS
    assert [chosen[0]["step"], chosen[-1]["step"]] == [1, 5_000]
    assert "validation_loss" in chosen[-1]
