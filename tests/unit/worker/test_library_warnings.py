"""Warnings of libraries become warnings of the stage, in words of ours."""

import json
import logging
import warnings
from pathlib import Path

import pytest
from tests.unit.worker.conftest import Workplace

from safety_records.result import StageResult
from safety_worker import cli, dispatch
from safety_worker.library_warnings import KNOWN, LOGGERS, collect_warnings, known_warnings, warnings_in_log
from safety_worker.termination import PATH_VARIABLE

SECRET = "the words of a user"
SAID = {
    "trl: rows begin otherwise": "The tokenized prompt is not a prefix of the tokenized prompt+completion, "
    f"usually because the chat template renders it otherwise: {SECRET!r}. The model is trained on a context "
    "that differs from the one it sees at inference.",
    "trl: the chat template leaves the end": "The chat template does not include the assistant turn's "
    "end-of-turn token in the loss mask; the model may not learn to stop.",
    "transformers: a text is longer": "Token indices sequence length is longer than the specified maximum "
    "sequence length for this model (900 > 512).",
    "transformers: the model's files lack weights": "LlamaForCausalLM LOAD REPORT from: m\nKey | Status\n"
    "lm_head.weight | MISSING\nthose params were newly initialized because missing from the checkpoint",
    "transformers: weights of the model's files have other shapes": "LlamaForCausalLM LOAD REPORT from: m\n"
    "embed.weight | MISMATCH | ckpt: [3] vs model: [4]",
    "transformers: the model's files hold weights": "Bert LOAD REPORT from: m\npooler.bias | UNEXPECTED",
    "transformers: the tokenizer is of another class": "The tokenizer class you load from this checkpoint is "
    "not the same type as the class this function is called from.",
    "transformers: pad, begin and end": "The tokenizer has new PAD/BOS/EOS tokens that differ from the model "
    "config and generation config.",
    "transformers: there is no pad token": "Setting `pad_token_id` to `eos_token_id`:2.",
    "transformers: the tokenizer splits": "Loaded with an incorrect regex pattern",
    "peft: method.targetModules": "target_modules={'q'} were set but no module was matched.",
    "peft: settings of single layers": "The rank_pattern keys did not match any targeted module.",
    "peft: the adapter's files": "Found missing adapter keys while loading the checkpoint: ['x'].",
    "peft: layers that share": "Model with `tie_word_embeddings=True` and others.",
    "peft: the model has an adapter": "Already found a `peft_config` attribute in the model.",
    "lm-eval: answers of the server": "API returned null content. Content filled with `X = `.",
    "lm-eval: prompts were longer": "Context length (9) + continuation length (9) > max_length (9). Left "
    "truncating context.",
    "garak: the server refused": f"Bad request: Conversation({SECRET})",
    "garak: texts could not be translated": "Translation error: timeout",
    "garak: a list of packages": "Connection error loading packagehallucination detector for rust: no route",
    "garak: its calibration": "Couldn't decode calibration JSON in c.json: Expecting value",
    "garak: a detector could not read": "StringDetector: no text; returning None for this output",
    "lm-eval: a group's metric": "Group 'g': metric 'acc,none' is missing in 1/2 tasks. Missing in: t",
}


@pytest.mark.parametrize(("ours", "theirs"), SAID.items(), ids=list(SAID))
def test_a_known_warning_is_said_in_our_words_and_without_theirs(ours: str, theirs: str) -> None:
    (said,) = known_warnings(theirs)
    assert said.startswith(ours)
    assert SECRET not in said
    assert len(said) <= 160, "it has to fit into a termination message"


@pytest.mark.parametrize("text", ["", "You are using a fast tokenizer", f"something about {SECRET}"])
def test_what_decides_nothing_or_is_not_known_stays_in_the_log(text: str) -> None:
    assert known_warnings(text) == []


def test_a_log_says_each_thing_once() -> None:
    lines = ["INFO start", "WARNING API returned null content.", "WARNING API returned null content.", "end"]
    assert warnings_in_log(lines) == ("lm-eval: answers of the server held no text; they count as wrong",)


@pytest.mark.parametrize("name", LOGGERS)
def test_loggers_are_heard_also_where_they_keep_to_themselves(name: str) -> None:
    logger = logging.getLogger(f"{name}.deep.inside")
    root = logging.getLogger(name)
    with collect_warnings() as found:
        before, root.propagate = root.propagate, False
        logger.warning("Already found a `peft_config` attribute in %s", SECRET)
        logger.info("may not learn to stop")
        root.propagate = before
    assert list(found) == ["peft: the model has an adapter already; the new one is a second"]
    logger.warning("may not learn to stop")
    assert len(found) == 1, "nobody listens any more"


def test_warnings_are_heard_and_still_shown() -> None:
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_rest, **_named: shown.append(str(message))
        with collect_warnings() as found:
            warnings.warn("target_modules=['x'] were set but no module was matched.", stacklevel=1)
    assert list(found) == ["peft: method.targetModules fits no layer of the model"]
    assert len(shown) == 1


def test_the_stage_that_ran_has_them_in_its_result(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage(spec: object, _context: object) -> StageResult:
        logging.getLogger("trl.trainer").warning("the model may not learn to stop")
        return StageResult(stage="fetch", inputs_hash="h", warnings=("own",))

    monkeypatch.setattr(dispatch, "run_stage", stage)
    fields = {"stage": "fetch", "namespace": "n", "kind": "k", "name": "x", "inputs_hash": "h", "uri": "u"}
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({**fields, "root": f"file://{workplace.artifacts}", "out": "o"}))
    assert cli.run_command(spec, {PATH_VARIABLE: str(tmp_path / "message")}) == 0
    result = StageResult.model_validate_json((tmp_path / "message").read_text(encoding="utf-8"))
    assert result.warnings[0] == "own"
    assert result.warnings[1].startswith("trl: the chat template leaves the end of an answer out")


def test_every_sentence_names_the_library() -> None:
    assert {words.partition(":")[0] for words in KNOWN.values()} == {
        "trl",
        "transformers",
        "peft",
        "lm-eval",
        "garak",
    }
