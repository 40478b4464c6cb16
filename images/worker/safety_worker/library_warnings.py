"""Warnings of libraries that decide what comes out become warnings of the stage, and do not end in a log.

Their own words are not passed on, since they hold texts of users and of models: each known warning has a
sentence of ours. What is not known stays in the log.
"""

import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LOGGERS = ("transformers", "trl", "peft", "accelerate", "datasets", "torch", "sentence_transformers")
"""Libraries that write into this process's log; some keep their messages from the root logger."""


KNOWN = {
    r"not a prefix of the tokenized prompt|context that differs from the one": (
        "trl: rows begin otherwise than a server's prompt; training shows less in answers"
    ),
    r"end-of-turn token in the loss mask|may not learn to stop": (
        "trl: the chat template leaves the end of an answer out of what is learnt: answers may not stop"
    ),
    r"longer than the specified maximum sequence length": (
        "transformers: a text is longer than the tokenizer's model_max_length"
    ),
    r"newly initialized|were not initialized from|LOAD REPORT.*\bMISSING\b": (
        "transformers: the model's files lack weights, which were set at random"
    ),
    r"LOAD REPORT.*\bMISMATCH\b|size mismatch|shapes did not match": (
        "transformers: weights of the model's files have other shapes than its config.json says"
    ),
    r"were not used when initializing|LOAD REPORT.*\bUNEXPECTED\b": (
        "transformers: the model's files hold weights that its config.json does not know; they were left out"
    ),
    r"tokenizer class you load from this checkpoint is not the same": (
        "transformers: the tokenizer is of another class than its files say"
    ),
    r"new PAD/BOS/EOS tokens that differ": (
        "transformers: pad, begin and end tokens of tokenizer and model differ; the tokenizer's were taken"
    ),
    r"pad[_ ]token.{0,60}(?:same as|equal to|to).{0,20}eos[_ ]token": (
        "transformers: there is no pad token; the end token stands in for it"
    ),
    r"incorrect regex pattern|fix_mistral_regex": (
        "transformers: the tokenizer splits text otherwise than the model was trained with"
    ),
    r"target_modules.{0,200}no module was matched": ("peft: method.targetModules fits no layer of the model"),
    r"keys did not match any targeted module": ("peft: settings of single layers fit none that is trained"),
    r"missing adapter keys": ("peft: the adapter's files lack weights"),
    r"tie_word_embeddings=True|no longer tied after merging": (
        "peft: layers that share their weights are trained: after merging they may differ"
    ),
    r"Already found a `?peft_config`?": ("peft: the model has an adapter already; the new one is a second"),
    r"API returned null content|Could not parse generations": (
        "lm-eval: answers of the server held no text; they count as wrong"
    ),
    r"exceeds model's maximum length|left truncat(?:ing|ed)": (
        "lm-eval: prompts were longer than the model takes and were cut at their beginning"
    ),
    r"metric '[^']*' is missing in \d+/\d+ tasks": (
        "lm-eval: a group's metric is missing in some of its tasks, which do not count for it"
    ),
    r"Bad request: |HTTP \d{3} from ": (
        "garak: the server refused requests, such as prompts that are too long; they were not evaluated"
    ),
    r"Translation error": ("garak: texts could not be translated and were used as they were"),
    r"Connection error loading packagehallucination|Invalid cutoff date format": (
        "garak: a list of packages was not read as wanted; invented packages may be missed"
    ),
    r"calibration data load|decode calibration JSON|Calibration path not found": (
        "garak: its calibration could not be read; there are no relative scores"
    ),
    r"only processes outputs that are|could not verify output for tool|returning None for": (
        "garak: a detector could not read some answers; they were not evaluated"
    ),
}
"""Warnings that decide the outcome: what they hold, whatever its case, and what is said of it."""


def known_warnings(text: str) -> list[str]:
    """What a library's words say, in ours; empty for a warning that decides nothing, or is not known."""
    return [words for pattern, words in KNOWN.items() if re.search(pattern, text, re.IGNORECASE | re.DOTALL)]


def warnings_in_log(lines: Iterable[str]) -> tuple[str, ...]:
    """What the log of a library's own process says, each once."""
    return tuple(dict.fromkeys(said for line in lines for said in known_warnings(line)))


class _WarningCollector(logging.Handler):
    """Collects what is known, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.add(record.getMessage())

    def add(self, text: str) -> None:
        self.found |= dict.fromkeys(known_warnings(text))


@contextmanager
def collect_warnings() -> Iterator[dict[str, None]]:
    """Collect the warnings of libraries in this process: of loggers, and of ``warnings.warn``."""
    collector = _WarningCollector()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    show = warnings.showwarning

    def show_and_collect(message: Warning | str, *arguments: object, **named: object) -> None:
        collector.add(str(message))
        show(message, *arguments, **named)  # type: ignore[arg-type]

    warnings.showwarning = show_and_collect
    for logger in loggers:
        logger.addHandler(collector)
    try:
        yield collector.found
    finally:
        warnings.showwarning = show
        for logger in loggers:
            logger.removeHandler(collector)
