"""What the schema's rules refuse as well, and what only the whole spec shows: a spec's mistakes in words.

The API server enforces the rules with CEL; they are checked here once more, because a planner is total and a
resource may be older than a rule.
"""

import re
from collections.abc import Sequence

from safety_operator.api.blend_data import BlendSource, RetainSource
from safety_operator.api.common import EvaluatedModel, OwnedModel, PromptData
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec, UpdateStrategy
from safety_operator.api.judges import Judge
from safety_operator.api.safety_blend import (
    HarmfulAnchors,
    SafeAnchors,
    SafetyBlendSpec,
    Screening,
)
from safety_operator.api.safety_eval import SafetyEvalSpec, Threshold
from safety_operator.api.through_rails import EvalTarget
from safety_operator.planning.shared.garak_probes import find_downloads, select_probes
from safety_operator.planning.shared.schedule import DEFAULT_ZONE, check_schedule


def check_model(model: OwnedModel | EvaluatedModel, where: str) -> str:
    """Exactly one source; empty if so."""
    given: dict[str, object] = {"source": model.source, "finetuneRef": model.finetune_ref}
    if isinstance(model, EvaluatedModel):
        given["endpoint"] = model.endpoint
    if isinstance(model, EvalTarget):
        given["guardedDeploymentRef"] = model.guarded_deployment_ref
    *names, last = given
    if sum(item is not None for item in given.values()) == 1:
        return ""
    return f"{where}: name exactly one of {', '.join(names)} and {last}."


def check_data(data: PromptData | BlendSource | HarmfulAnchors | SafeAnchors, where: str) -> str:
    """A source has exactly one of preset and uri, a set of prompts at least one, none a token in clear.

    What labels mean is said of a column that is named.
    """
    if data.token_secret_ref is not None and (data.uri or "").startswith("http://"):
        return f"{where}.tokenSecretRef: http:// would carry the token in the clear: use https://."
    columns = data.columns
    if columns and columns.labels and not (columns.label or columns.prompt_label):
        return f"{where}.columns.labels: name the column whose values it explains in label or promptLabel."
    given = (data.preset is not None) + (data.uri is not None)
    if isinstance(data, PromptData | BlendSource):
        return "" if given else f"{where}: name a preset, a uri, or both for a copy of the preset."
    return "" if given == 1 else f"{where}: name exactly one of preset and uri."


def check_judges(judges: Sequence[Judge]) -> str:
    """What each type needs and what it must not have, and names that occur once."""
    for index, judge in enumerate(judges):
        mistake = _check_judge(judge, f"spec.judges[{index}]")
        if mistake:
            return mistake
    return check_names([judge.name for judge in judges], "spec.judges")


def check_pattern(pattern: str, where: str) -> str:
    """A regular expression with at most one group, said before the work that leads to it."""
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        return f"{where}: {error}. Write a regular expression of Python."
    return "" if groups <= 1 else f"{where}: {groups} groups. Mark what counts with one."


_USES_ANSWER = re.compile(r"\{[{%](?:(?![}%]\}).)*?\b(?:answer|messages)\b", re.DOTALL)
"""The worker parses templates; this much is said before a model server is started."""


def _check_judge_model(judge: Judge, where: str) -> str:
    """Who judges: a model, a classifier of the image, or neither."""
    if judge.type == "classifier":
        endpoint = judge.model is not None and judge.model.endpoint is not None
        if endpoint or (judge.classifier is None) == (judge.model is None):
            return f"{where}: name a classifier of the worker image, or a model that is no endpoint."
    elif judge.classifier is not None:
        return f"{where}.classifier: set it for type classifier, and only there."
    elif (judge.type == "refusal-phrases") != (judge.model is None):
        return f"{where}.model: type {judge.type} {'has none' if judge.model else 'needs one'}."
    if (judge.unsafe_labels is not None) != (judge.type == "classifier" and judge.model is not None):
        return f"{where}.unsafeLabels: set them for type classifier with a model, and only there."
    return ""


def _check_judge(judge: Judge, where: str) -> str:
    mistake = _check_judge_model(judge, where)
    if mistake:
        return mistake
    if (judge.type == "custom") != (judge.custom is not None):
        return f"{where}.custom: set it for type custom, and only there."
    if judge.variant is not None and judge.variant not in judge.kind.variants:
        return f"{where}.variant: type {judge.type} has no variant {judge.variant}."
    checks = [check_model(judge.model, f"{where}.model") if judge.model is not None else ""]
    if judge.custom is not None:
        one = (judge.custom.parser.regex is None) != (judge.custom.parser.json_path is None)
        checks.append("" if one else f"{where}.custom.parser: name exactly one of regex and jsonPath.")
        checks.append(check_pattern(judge.custom.parser.regex or "", f"{where}.custom.parser.regex"))
        if not _USES_ANSWER.search(judge.custom.template):
            checks.append(f"{where}.custom.template: it shows the judge no answer. Use {{{{ answer }}}}.")
    if judge.calibration is not None:
        checks.append(check_data(judge.calibration.dataset, f"{where}.calibration.dataset"))
    return next(filter(None, checks), "")


def check_names(names: Sequence[str], where: str) -> str:
    """Names that occur once; empty if so."""
    doubles = sorted({name for name in names if names.count(name) > 1})
    return f"{where}: the name {doubles[0]} occurs twice." if doubles else ""


MAX_METRIC = 120
"""Characters of a metric's name."""


def check_eval(spec: SafetyEvalSpec) -> str:
    """The first mistake of a SafetyEval, empty if there is none."""
    if not (spec.content_safety or spec.security or spec.accuracy):
        return "spec: measure something: add contentSafety, security or accuracy."
    checks = [
        check_model(spec.model, "spec.model"),
        check_judges(spec.judges),
        check_names([suite.name for suite in spec.content_safety], "spec.contentSafety"),
        check_names([task.name for task in spec.accuracy], "spec.accuracy"),
        *_check_suites(spec),
        *_check_tasks(spec),
        *_check_garak(spec),
        *_check_thresholds(spec),
        check_schedule(spec.schedule, spec.time_zone or DEFAULT_ZONE) if spec.schedule else "",
        _check_signing(spec),
        _check_rails(spec),
    ]
    return next(filter(None, checks), "")


def _check_rails(spec: SafetyEvalSpec) -> str:
    """What only a GuardedDeployment can be asked, and what it cannot be; empty if all fits."""
    if spec.model.guarded_deployment_ref is None:
        missing = spec.compare is not None
        return "spec.compare: it is about rails: set spec.model.guardedDeploymentRef." if missing else ""
    if spec.compare is not None and not spec.content_safety:
        return "spec.compare: it compares suites of prompts: add spec.contentSafety."
    if any(task.dataset and task.answers != "written" for task in spec.accuracy):
        return "spec.accuracy: no answer through rails has a log-likelihood: set answers to written."
    return ""


def _check_suites(spec: SafetyEvalSpec) -> list[str]:
    judges = {judge.name for judge in spec.judges}
    found = []
    for index, suite in enumerate(spec.content_safety):
        where = f"spec.contentSafety[{index}]"
        found.append(check_data(suite.dataset, f"{where}.dataset"))
        if (suite.judge is None) == (suite.judges is None):
            found.append(f"{where}: name one judge in judge, or several that vote in judges.")
        if suite.dataset.preset and (suite.dataset.preset == "xstest") != (suite.expect == "answer"):
            found.append(
                f"{where}.expect: xstest holds harmless prompts and the other presets harmful ones. Set "
                "answer for xstest, and for no other preset."
            )
        names = suite.judges or ([suite.judge] if suite.judge else [])
        found.append(check_names(names, f"{where}.judges"))
        found += [
            f"{where}.judge: {name} is not listed in spec.judges. Add it, or name another."
            for name in names
            if name not in judges
        ]
    return found


def _check_tasks(spec: SafetyEvalSpec) -> list[str]:
    found = []
    for index, task in enumerate(spec.accuracy):
        where = f"spec.accuracy[{index}]"
        if [bool(task.preset), bool(task.tasks), bool(task.dataset)].count(True) != 1:
            found.append(f"{where}: name exactly one of preset, tasks of lm-eval and a dataset of your own.")
        if task.preset == "gpqa-diamond" and not (task.token_secret_ref or task.cache):
            found.append(f"{where}: gpqa-diamond is gated: give tokenSecretRef, or a filled cache.")
        found.append(check_pattern(task.answer_pattern or "", f"{where}.answerPattern"))
        found.append(check_names(task.tasks, f"{where}.tasks"))
        if len(task.tasks) > 1:
            found += [
                f"{where}.tasks: accuracy.{task.name}.{name} is longer than {MAX_METRIC} characters. Give "
                "the entry a shorter name, or the task one of its own."
                for name in task.tasks
                if len(f"accuracy.{task.name}.{name}") > MAX_METRIC
            ]
        if task.dataset and task.answers != "written" and spec.model.endpoint is not None:
            found.append(
                f"{where}: choices are scored by log-likelihood, which takes the model's tokenizer and not "
                "only an endpoint. Set answers to written, or evaluate the model's source."
            )
    return found


def _check_garak(spec: SafetyEvalSpec) -> list[str]:
    """Probes that garak knows, and answers that can differ."""
    if spec.security is None:
        return []
    garak = spec.security.garak
    found = [select_probes(garak.probes, garak.exclude).mistake, _check_downloads(spec)]
    if garak.cache and garak.downloads != "allow":
        found.append("spec.security.garak.cache: a cache stands in for downloads: set downloads to allow.")
    if garak.generations > 1 and float(spec.sampling.temperature) == 0:
        found.append(
            "spec.security.garak.generations: at temperature 0 every answer to a prompt is the same. Set "
            "spec.sampling.temperature above 0, or leave generations out."
        )
    return found


MAX_NAMED = 6
"""Probes that a message names; the names are up to 40 characters long."""


def missing_downloads(spec: SafetyEvalSpec) -> tuple[str, ...]:
    """Probes that will have no number, because they need downloads and downloads are refused."""
    if spec.security is None or spec.security.garak.downloads == "allow":
        return ()
    garak = spec.security.garak
    return find_downloads(select_probes(garak.probes, garak.exclude).probes, garak.detectors)


def downloads_warning(spec: SafetyEvalSpec) -> str:
    """That probes will be missing, and resilience with them; empty if none will."""
    names = missing_downloads(spec)
    if not names:
        return ""
    shown = ", ".join(names[:MAX_NAMED]) + (" and others" if len(names) > MAX_NAMED else "")
    return (
        f"spec.security.garak.downloads is refuse, and {shown} need downloads: they, and "
        "security.resilience, will be missing. Set downloads to allow (with a cache where there is no "
        "network), or exclude them."
    )


def _check_downloads(spec: SafetyEvalSpec) -> str:
    """A threshold over what will be missing cannot be met."""
    absent = {f"security.{name}" for name in missing_downloads(spec)}
    absent |= {"security.resilience"} if absent else set()
    index = next((n for n, item in enumerate(spec.thresholds) if item.metric in absent), None)
    return "" if index is None else f"spec.thresholds[{index}] cannot be met: {downloads_warning(spec)}"


def _check_thresholds(spec: SafetyEvalSpec) -> list[str]:
    """A threshold has to name something that is measured."""
    measured = {"contentSafety"} if spec.content_safety else set()
    measured |= {f"contentSafety.{suite.name}" for suite in spec.content_safety}
    for task in spec.accuracy:
        several = len(task.tasks) > 1
        measured |= {f"accuracy.{task.name}.{name}" for name in task.tasks} if several else set()
        measured |= set() if several else {f"accuracy.{task.name}"}
    # What a tag or a group stands for, lm-eval alone knows.
    open_ended = tuple(f"accuracy.{task.name}." for task in spec.accuracy if task.tasks)
    if spec.security is not None:
        garak = spec.security.garak
        probes = select_probes(garak.probes, garak.exclude).probes
        measured |= {"security.resilience"} | {f"security.{probe}" for probe in probes}
    return [
        f"spec.thresholds[{index}].metric: {threshold.metric} is not measured by this spec, which measures "
        f"{', '.join(sorted(measured)[:12])}. Name one of these, or add the measurement."
        for index, threshold in enumerate(spec.thresholds)
        if threshold.metric not in measured and not threshold.metric.startswith(open_ended)
    ] + [
        problem
        for index, threshold in enumerate(spec.thresholds)
        if (problem := _check_bound(spec, threshold, f"spec.thresholds[{index}]"))
    ]


def _check_bound(spec: SafetyEvalSpec, threshold: Threshold, where: str) -> str:
    """A smallest value or a largest drop, and what a drop is compared with."""
    if (threshold.min is None) == (threshold.max_drop is None):
        return f"{where}: give either min or maxDrop."
    if threshold.max_drop is not None and spec.baseline_ref is None:
        return f"{where}.maxDrop: there is no baseline to compare with. Name one in spec.baselineRef."
    if threshold.max_drop is not None and threshold.metric.startswith("security."):
        return f"{where}.maxDrop: security scores have no rows to compare. Use min."
    return ""


def _check_signing(spec: SafetyEvalSpec) -> str:
    """A signed statement needs a subject."""
    endpoint = spec.model.endpoint
    if spec.report.signing_key_secret_ref is None or endpoint is None or endpoint.digest:
        return ""
    return (
        "spec.report.signingKeySecretRef: a signed report names the model by its digest. Set "
        "spec.model.endpoint.digest, or remove it."
    )


def check_blend(spec: SafetyBlendSpec) -> str:
    """The first mistake of a SafetyBlend, empty if there is none."""
    checks = [
        check_model(spec.on_policy.model, "spec.onPolicy.model"),
        check_judges(spec.judges),
        check_names([item.name for item in [*spec.sources, *spec.retain]], "spec.sources and spec.retain"),
        *(_check_source(item, f"spec.sources[{index}]") for index, item in enumerate(spec.sources)),
        *(_check_source(item, f"spec.retain[{index}]") for index, item in enumerate(spec.retain)),
        ""
        if (spec.sample.by == "column") == bool(spec.sample.column)
        else "spec.sample.column: name a column with by: column, and only there.",
        ""
        if spec.dedupe.near is None or 0.5 <= float(spec.dedupe.near.threshold) <= 1  # noqa: PLR2004
        else "spec.dedupe.near.threshold: a similarity from 0.5 to 1, such as 0.8.",
        *(
            check_data(item, f"spec.dedupe.against[{index}]")
            for index, item in enumerate(spec.dedupe.against)
        ),
        _check_refusals_are_seen(spec),
        *(_check_screening(spec) if spec.screening.method != "none" else ()),
    ]
    return next(filter(None, checks), "")


def _check_refusals_are_seen(spec: SafetyBlendSpec) -> str:
    """Where the model answers harmless prompts, some judge has to know a refusal: it would be learnt."""
    if any(judge.sees_refusals for judge in spec.judges):
        return ""
    for index, item in enumerate(spec.retain):
        columns = item.columns
        if item.uri and not item.preset and not (columns and (columns.response or columns.messages)):
            return (
                f"spec.retain[{index}]: its prompts have no responses, so the model answers them, and no "
                "judge can tell whether it refused: add a judge of type refusal-phrases or wildguard, or "
                "name columns.response."
            )
    return ""


def _check_source(source: BlendSource, where: str) -> str:
    """Where it lies, its filters, and one way of saying how many rows."""
    for index, item in enumerate(source.filters):
        if not any((item.any_of, item.none_of)) and item.at_least is item.at_most is None:
            return f"{where}.filters[{index}]: say at least one of anyOf, noneOf, atLeast and atMost."
    if isinstance(source, RetainSource):
        ways = [way for way in (source.size, source.ratio, source.subsets) if way]
        if len(ways) > 1:
            return f"{where}: say how many rows in one way: size, ratio or subsets."
        if source.ratio is not None and float(source.ratio) <= 0:
            return f"{where}.ratio: it must be above 0."
    return _check_records(source, where) or check_data(source, where)


def _check_records(source: BlendSource, where: str) -> str:
    """Whether the records that are read are few enough to be read, and enough for the rows to draw."""
    retain = source if isinstance(source, RetainSource) else None
    subsets = (retain.subsets if retain else None) or {}
    if source.max_records is None:
        whole = source.preset == "llama-nemotron" and not source.uri
        if whole and (not subsets or {"math", "code"} & set(subsets)):
            return (
                f"{where}.maxRecords: llama-nemotron with math or code is over 100 GB: say how many to read."
            )
        return ""
    wanted = max([(retain.size if retain else None) or 0, *subsets.values()])
    if wanted > source.max_records:
        return f"{where}.maxRecords: {wanted} rows cannot be drawn from fewer records: raise it."
    return ""


def _check_screening(spec: SafetyBlendSpec) -> list[str]:
    screening, where = spec.screening, "spec.screening"
    anchors = screening.anchors
    sets: list[tuple[str, HarmfulAnchors | SafeAnchors]] = [("harmful", anchors.harmful)]
    sets += [(f"safe[{index}]", item) for index, item in enumerate(anchors.safe)]
    return [
        check_model(screening.model, f"{where}.model") if screening.model else "",
        check_data(screening.layer_prompts, f"{where}.layerPrompts") if screening.layer_prompts else "",
        *(check_data(item, f"{where}.anchors.{name}") for name, item in sets),
        *(
            f"{where}.anchors.{name}.columns.response: name the column of the answers."
            for name, item in sets
            if item.columns is not None and not (item.columns.response or item.columns.messages)
        ),
        ""
        if screening.rows == "all" or spec.retain
        else f"{where}.rows: it is retain and spec.retain is empty: add retain, or set it to all.",
        *_check_selection(screening, where),
    ]


def _check_selection(screening: Screening, where: str) -> list[str]:
    fraction = screening.top_fraction
    return [
        ""
        if (fraction is None) != (screening.threshold is None)
        else f"{where}: name exactly one of topFraction and threshold.",
        ""
        if fraction is None or 0 < float(fraction) < 1
        else f"{where}.topFraction: write a share between 0 and 1.",
        ""
        if screening.gradient.projection % 8 == 0
        else f"{where}.gradient.projection: make it a multiple of 8, such as 8192.",
    ]


REFUSAL_FORBIDDEN = frozenset('"\\${}\r\n')
"""Characters that the rails' language would read as its own."""


def check_strategy(strategy: UpdateStrategy | None) -> str:
    """An update that can replace pods; empty if so."""
    numbers = strategy.rolling_update if strategy is not None else None
    if strategy is None or numbers is None:
        return ""
    where = "spec.serving.updateStrategy.rollingUpdate"
    if strategy.type != "RollingUpdate":
        return f"{where}: it belongs to type RollingUpdate: remove it."
    stuck = numbers.max_surge == numbers.max_unavailable == 0
    return f"{where}: with maxSurge 0, maxUnavailable must be 1 or more." if stuck else ""


def check_guarded(spec: GuardedDeploymentSpec) -> str:
    """The first mistake of a GuardedDeployment, empty if there is none."""
    guard = spec.guardrails.content_safety
    model = "spec.guardrails.contentSafety.model"
    checks = [
        check_model(spec.model, "spec.model"),
        ""
        if bool(spec.gate.eval_refs) != spec.gate.none
        else "spec.gate: name the evaluations in evalRefs, or say none: true.",
        ""
        if (guard.model.classifier is None) != (guard.model.endpoint is None)
        else f"{model}: name exactly one of classifier and endpoint.",
        check_strategy(spec.serving.update_strategy),
        "" if guard.input or guard.output else "spec.guardrails.contentSafety: check input, output or both.",
        ""
        if not REFUSAL_FORBIDDEN & set(spec.guardrails.refusal)
        else "spec.guardrails.refusal: leave out double quotes, \\, $, braces and line ends.",
    ]
    return next(filter(None, checks), "")
