"""HarmfulTasks (Hasan et al., 2024, arXiv 2401.10862): requests, each in ten jailbreaks and as it is.

Published as two YAML files: ``integrated.yaml`` nests task (the jailbreak, or ORIGINAL), category,
sub-category, severity and the wrapped prompts; ``malicious_tasks_dataset.yaml`` the same without task, and
the bare requests. A row is a wrapped prompt; its request is the ORIGINAL prompt of the same place, without
its quotation marks, else the bare request of that place, whichever is part of it; else it has none.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from safety_worker.datasets.decoding import load_yaml
from safety_worker.datasets.readers import RawRecord, leaves
from safety_worker.datasets.resolve import DataFile
from safety_worker.errors import InputError
from safety_worker.text import normal_form

WRAPPED_NAME = "integrated.yaml"
REQUESTS_NAME = "malicious_tasks_dataset.yaml"
ORIGINAL = "ORIGINAL"
LEFT_OUT = "Low Severity"
"""Severity that is left out: requests that do little harm."""


def read_harmful_tasks(files: Sequence[DataFile]) -> Iterator[RawRecord]:
    """Records of the wrapped prompts, under the names prompt, unsafe_prompt and categories.

    Raises
    ------
    InputError
        If one of the two files is missing or cannot be read.
    """
    trees = {name: _tree(files, name) for name in (WRAPPED_NAME, REQUESTS_NAME)}
    requests = dict(leaves(trees[REQUESTS_NAME]))
    wrapped = list(leaves(trees[WRAPPED_NAME]))
    originals = {path[1:]: text for path, text in wrapped if path[0] == ORIGINAL}
    for index, (path, prompt) in enumerate(wrapped):
        if len(path) != 5 or not isinstance(prompt, str):  # noqa: PLR2004 - four keys and a place in a list
            problem = "no prompt below task, category, sub-category and severity"
            yield RawRecord(index, None, {}, problem)
            continue
        task, category, sub_category, severity, _ = path
        fields = {"task": task, "category": category, "sub_category": sub_category, "severity": severity}
        value = {
            "prompt": prompt,
            "unsafe_prompt": _request(prompt, originals.get(path[1:]), requests.get(path[1:])),
            "categories": [category],
        }
        filtered = f"severity is {LEFT_OUT}" if severity == LEFT_OUT else ""
        yield RawRecord(index, None, value, "", filtered, {**fields, "prompt": prompt})


def _request(prompt: str, original: object, bare: object) -> str:
    whole = normal_form(prompt).casefold()
    for text in (original, bare):
        if isinstance(text, str):
            request = text.strip().strip("'\"").strip()
            found = normal_form(request).casefold().rstrip(".")
            if found and found in whole:
                return request
    return ""


def _tree(files: Sequence[DataFile], name: str) -> Any:
    found = next((file for file in files if file.path.name == name), None)
    if found is None:
        raise InputError(
            "MissingPreset",
            f"preset harmful-tasks has two files, {WRAPPED_NAME} and {REQUESTS_NAME}: {name} is not there",
        )
    try:
        return load_yaml(found.path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError("UnreadableData", f"{name}: {error}") from error
