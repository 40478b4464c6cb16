"""The model card: README.md next to the weights, for people who meet them without their resource.

Its head is what the Hugging Face hub reads. Names, warnings and overrides are escaped.
"""

from collections.abc import Iterable

import yaml

from safety_records.finetune import FinetuneReport, TrainedFrom
from safety_worker.reporting.wording import markdown_text, visible
from safety_worker.training_report.wording import hub_name, result_lines, setting_lines, size

USE = """\
Trained to be safer. Whether it is says an evaluation of this very model, by the digest above; serve it \
behind guardrails."""


def render(report: FinetuneReport) -> str:
    """The card of a trained model."""
    sections = [
        _head(report),
        f"# {markdown_text(report.namespace)}/{markdown_text(report.name)}",
        f"Fine-tuned from {_named(report.base, 'a model')} on {_named(report.data, 'data')}.",
        USE,
        "## Digests",
        _list(
            (
                f"model: {_code(report.digest)} ({size(report.bytes)})",
                f"base: {_code(report.base.digest) or 'not known'}",
                f"data: {_code(report.data.digest) or 'not known'}",
            )
        ),
        "The model's digest is over its weights, configuration and tokenizer; this card is not part of it.",
        "## Results",
        _list(f"{name}: {words}" for name, words in result_lines(report)),
        *([_list(f"Warning: {markdown_text(text)}" for text in report.warnings)] if report.warnings else []),
        "## Settings",
        _list(f"{markdown_text(name)}: {markdown_text(words)}" for name, words in setting_lines(report)),
        "## Versions",
        _list(f"{markdown_text(name)}: {_code(value)}" for name, value in sorted(report.versions.items())),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(report: FinetuneReport) -> str:
    name, revision = hub_name(report.base)
    head: dict[str, object] = {"base_model": name, "base_model_relation": "finetune"} if name else {}
    if revision:
        head["base_model_revision"] = revision
    head |= {"pipeline_tag": "text-generation", "library_name": "transformers"}
    head["tags"] = ["safety", "fine-tuned", report.backend]
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _named(item: TrainedFrom, what: str) -> str:
    return _code(item.name) or _code(item.digest) or f"{what} without a name or digest"


def _code(text: str) -> str:
    """Text that stays text in a code span."""
    line = " ".join(visible(text).split()).replace("`", "'")
    return f"`{line}`" if line else ""


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
