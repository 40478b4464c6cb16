"""Suites, tasks and sources of specs as the records that workers read."""

from collections.abc import Mapping, Sequence

from safety_operator.api.blend_data import BlendSource, RetainSource
from safety_operator.api.blend_screening import HarmfulAnchors, SafeAnchors, Screening
from safety_operator.api.common import PromptData, SecretKeyRef
from safety_operator.api.safety_blend import SafetyBlendSpec
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.children.metadata import canonical_hash
from safety_operator.planning.engine.references import Reference, secret_reference, uri_reference
from safety_records.base import shared
from safety_records.data import (
    ColumnNames,
    Columns,
    Dataset,
    ReadSettings,
    RetainSettings,
    Source,
    SourceSettings,
)
from safety_records.eval_stages import EvalSuite
from safety_records.measures import SuiteSettings
from safety_records.presets import PRESET_URIS, all_uris
from safety_records.sampling import SEED
from safety_records.screening import AnchorSet

NAMED = (PromptData, BlendSource)
DataItem = PromptData | BlendSource | HarmfulAnchors | SafeAnchors
"""Data that a spec names; presets of anchors are in the worker's image."""
MAX_NAMES = 63
"""Characters that scores have for the names of judges."""


def columns_record(columns: ColumnNames | None) -> Columns:
    """Columns as the worker reads them."""
    return Columns(**shared(columns, ColumnNames)) if columns else Columns()


def data_uri(data: PromptData | BlendSource) -> str:
    """Where a data set is: as the spec says, else its preset's address; empty for one of the image's."""
    return data.uri or PRESET_URIS.get(data.preset or "", "")


def token_name(ref: SecretKeyRef) -> str:
    """Variable that holds the token of a gated data set: the same wherever the same key is named."""
    return f"DATA_TOKEN_{canonical_hash([ref.name, ref.key])[:8].upper()}"


def data_references(items: Mapping[str, DataItem], *stages: str) -> tuple[Reference, ...]:
    """By field: data sets that stages read, and the tokens for them."""
    found: list[Reference] = []
    for where, item in items.items():
        preset, uri = (item.preset or "", data_uri(item)) if isinstance(item, NAMED) else ("", item.uri or "")
        for number, address in enumerate(all_uris(preset, uri) if uri else ()):
            field = f"{where}.uri{f' ({number + 1})' if number else ''}"
            found.append(uri_reference(field, address, *stages))
        found += token_reference(where, item.token_secret_ref, *stages)
    return tuple(found)


def token_reference(where: str, ref: SecretKeyRef | None, *stages: str) -> tuple[Reference, ...]:
    """The token of a gated data set."""
    env = token_name(ref) if ref else ""
    return secret_reference(f"{where}.tokenSecretRef", ref, env, *stages)


def dataset_record(data: PromptData | BlendSource, *, limit: int | None = None, seed: int = SEED) -> Dataset:
    """A data set as the worker reads it."""
    return Dataset(
        preset=data.preset or "",
        uri=data_uri(data),
        token_env=token_name(data.token_secret_ref) if data.token_secret_ref else "",
        columns=columns_record(data.columns),
        limit=limit,
        seed=seed,
        **(shared(data, ReadSettings) if isinstance(data, ReadSettings) else {}),
    )


def eval_suites(spec: SafetyEvalSpec) -> tuple[EvalSuite, ...]:
    """The suites of an evaluation."""
    return tuple(
        EvalSuite(
            name=suite.name,
            dataset=dataset_record(suite.dataset, limit=suite.limit, seed=spec.sampling.seed),
            judge=suite.judge or "+".join(suite.judges or [])[:MAX_NAMES],
            judges=tuple(suite.judges or ()),
            system=suite.system_prompt or "",
            **shared(suite, SuiteSettings),
        )
        for suite in spec.content_safety
    )


def suite_data(spec: SafetyEvalSpec) -> dict[str, DataItem]:
    """By field: the data sets of suites."""
    return {
        f"spec.contentSafety[{index}].dataset": suite.dataset
        for index, suite in enumerate(spec.content_safety)
    }


def blend_sources(sources: Sequence[BlendSource], seed: int) -> tuple[Source, ...]:
    """Sources of a blend; the size of a retain source is its limit."""
    return tuple(_source(source, seed) for source in sources)


def _source(source: BlendSource, seed: int) -> Source:
    retain = source if isinstance(source, RetainSource) else None
    return Source(
        name=source.name,
        dataset=dataset_record(source, limit=retain.size if retain else None, seed=seed),
        **shared(source, SourceSettings),
        **(shared(retain, RetainSettings) if retain else {}),
    )


def blend_data(spec: SafetyBlendSpec) -> dict[str, DataItem]:
    """By field: the sources, the data to retain and the sets to keep apart."""
    named: dict[str, DataItem] = {f"spec.sources[{index}]": item for index, item in enumerate(spec.sources)}
    named |= {f"spec.retain[{index}]": item for index, item in enumerate(spec.retain)}
    named |= {f"spec.dedupe.against[{index}]": item for index, item in enumerate(spec.dedupe.against)}
    return named


GRADIENT_ANCHORS, OTHER_ANCHORS = 10, 100
"""Examples of an anchor set where the spec says nothing: as many as the papers have (arXiv 2404.01099,
2507.18631)."""


def anchor_record(anchors: HarmfulAnchors | SafeAnchors, method: str) -> AnchorSet:
    """A set of anchors as the worker reads it."""
    limit = anchors.limit or (GRADIENT_ANCHORS if method == "gradient" else OTHER_ANCHORS)
    if anchors.uri is None:
        return AnchorSet(preset=anchors.preset or "", limit=limit)
    columns = columns_record(anchors.columns) if anchors.columns else Columns(response="response")
    token = token_name(anchors.token_secret_ref) if anchors.token_secret_ref else ""
    return AnchorSet(dataset=Dataset(uri=anchors.uri, token_env=token, columns=columns), limit=limit)


def screening_data(screening: Screening) -> dict[str, DataItem]:
    """By field: the anchors, and the prompts for update the layer."""
    if screening.method == "none":
        return {}
    where, anchors = "spec.screening", screening.anchors
    named: dict[str, DataItem] = {f"{where}.anchors.harmful": anchors.harmful}
    named |= {f"{where}.anchors.safe[{index}]": item for index, item in enumerate(anchors.safe)}
    return named | ({f"{where}.layerPrompts": screening.layer_prompts} if screening.layer_prompts else {})
