"""What a SafetyEval measures: suites of prompts, red-team scans, accuracy."""

from typing import Annotated, Literal

from pydantic import Field

from safety_operator.api.common import ApiModel, DataUri, Duration, PromptData, SecretKeyRef
from safety_records.measures import GarakSettings, SuiteSettings, TaskSettings
from safety_records.result import MAX_METRIC
from safety_records.schema import SET, Name, config, shaped


class Suite(SuiteSettings, ApiModel):
    """A set of prompts, answered by the model and judged."""

    model_config = config(
        ("has(self.judge) != has(self.judges)", "name one judge in judge, or several that vote in judges"),
        ("has(self.judges) || !has(self.agreement)", "agreement is about several judges: remove it"),
        (
            (
                "!has(self.dataset.preset) || "
                "(self.dataset.preset == 'xstest') == (has(self.expect) && self.expect == 'answer')"
            ),
            (
                "xstest holds harmless prompts and the other presets harmful ones: set expect: answer for "
                "xstest, and for no other preset"
            ),
        ),
    )
    name: Name = Field(description="Name of the suite; its metric is contentSafety.<name>.")
    dataset: PromptData = Field(
        description="Where the suite's prompts come from: a preset, a uri, or both for a copy of a preset."
    )
    judge: Name | None = Field(default=None, description="Name of a judge in spec.judges.")
    judges: Annotated[list[Name], Field(min_length=2, max_length=8, json_schema_extra=SET)] | None = Field(
        default=None, description="Names of several judges that vote."
    )
    system_prompt: Annotated[str, Field(min_length=1, max_length=16384)] | None = Field(
        default=None, description="System prompt of all rows that have none of their own."
    )
    limit: Annotated[int, Field(ge=1, le=1000000)] | None = Field(
        default=None, description="Prompts drawn at random with the sampling seed; all where absent."
    )


ProbeSpec = Annotated[
    str,
    shaped(
        r"^[a-z_0-9]+(\.[A-Za-z_0-9]+)?$",
        "name tier1, tier2, a family of garak's probes such as dan, or a single probe such as dan.Dan_11_0",
        max_length=128,
    ),
]
"""A list of the blueprint, a family of probes, or one probe."""


class Garak(GarakSettings, ApiModel):
    """A garak scan."""

    model_config = config(
        (
            "!has(self.cache) || has(self.downloads) && self.downloads == 'allow'",
            "a cache stands in for downloads: set downloads: allow, or remove it",
        ),
    )
    probes: Annotated[list[ProbeSpec], Field(min_length=1, max_length=200)] = Field(
        description="What to run: tier1 and tier2 are the 31 and 44 probes of NVIDIA's safety blueprint; dan "
        "is every active probe of a family; dan.Dan_11_0 is one probe."
    )
    exclude: Annotated[list[ProbeSpec], Field(max_length=200)] = Field(
        default=[], description="Probes, families or lists that are left out of it."
    )
    shards: Annotated[int, Field(ge=1, le=32)] = Field(
        default=1, description="Jobs that share the probes, balanced by the number of their prompts."
    )
    max_tokens: Annotated[int, Field(ge=1, le=131072)] | None = Field(
        default=None,
        description="New tokens of an answer. Where absent: 150, with which garak's calibration was made; "
        "sampling.maxTokens for a reasoning model, which would not reach its answer.",
    )
    probe_timeout: Duration = Field(
        default="30m", description="Time for one try of one probe; a probe that fails is tried once more."
    )


class Security(ApiModel):
    """Red-team scans."""

    garak: Garak = Field(description="A scan with garak's probes.")


AccuracyPreset = Literal["gpqa-diamond", "math-500", "ifeval"]
"""Benchmarks by name: task of lm-eval, metric and chat template are known."""


class AccuracyTask(TaskSettings, ApiModel):
    """An accuracy measurement: a known benchmark, lm-eval tasks by name, or questions of your own."""

    model_config = config(
        (
            (
                "[has(self.preset), has(self.tasks) && size(self.tasks) > 0, has(self.dataset)]"
                ".filter(x, x).size() == 1"
            ),
            "name exactly one of preset, tasks of lm-eval and a dataset of your own",
        ),
        (
            (
                "!has(self.dataset) || ![has(self.metric), has(self.cache), "
                "has(self.tokenSecretRef)].exists(x, x)"
            ),
            (
                "a dataset of your own is read where it is and its score is the share of right "
                "answers: leave out metric, cache and tokenSecretRef"
            ),
        ),
        (
            ("!has(self.dataset) || has(self.answers) && self.answers == 'written' || !has(self.generation)"),
            "choices are scored by log-likelihood: leave out generation, or set answers: written",
        ),
        (
            "has(self.dataset) || !has(self.answers)",
            "answers is about a dataset of your own: remove it",
        ),
        (
            "!has(self.answerPattern) || has(self.answers) && self.answers == 'written'",
            "answerPattern finds the answer in what the model wrote: set answers: written, or remove it",
        ),
        (
            "!has(self.cache) || !has(self.tokenSecretRef)",
            "a cache is read offline, where no token is needed: give cache or tokenSecretRef, not both",
        ),
        (
            (
                "!has(self.preset) || self.preset != 'gpqa-diamond' || has(self.tokenSecretRef) || "
                "has(self.cache)"
            ),
            "gpqa-diamond is gated: accept its terms on the hub and give tokenSecretRef, or a filled cache",
        ),
        (
            (
                f"!has(self.tasks) || size(self.tasks) < 2 || self.tasks.all(t, "
                f"size('accuracy.' + self.name + '.' + t) <= {MAX_METRIC})"
            ),
            (
                f"accuracy.<name>.<task> has at most {MAX_METRIC} characters: shorten name, or give the task "
                "an entry of its own"
            ),
        ),
    )
    name: Name = Field(
        description="Name of the entry; its metric is accuracy.<name>, or accuracy.<name>.<task> for each "
        "of several tasks."
    )
    harness: Literal["lm-eval"] = Field(
        default="lm-eval", description="Benchmark harness; lm-eval is the only one."
    )
    preset: AccuracyPreset | None = Field(
        default=None,
        description="gpqa-diamond (198 questions, gated), math-500 or ifeval, through the chat template.",
    )
    dataset: DataUri | None = Field(
        default=None,
        description="JSON lines with question, choices and answer (index from 0), scored by log-likelihood; "
        "with answers: written question and answer (a text, or a list of texts that are right).",
    )
    chat_template: bool | None = Field(
        default=None,
        description="Ask through the model's chat template; where absent presets and written answers do and "
        "others do not.",
    )
    token_secret_ref: SecretKeyRef | None = Field(default=None, description="Hub token for gated data sets.")
