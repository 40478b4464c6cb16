"""Shared by the tests of the plugin: resources with statuses of the real planner, consoles to look at."""

import io
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from safety_cli.dry_run import START, DryRun
from safety_cli.errors import CliError
from safety_operator.state.reading import format_time
from safety_operator.state.settings import Images, PlanSettings

REPO = Path(__file__).parents[3]
QUICKSTART = REPO / "examples/01-quickstart"
SETTINGS = PlanSettings(images=Images("worker:1", "server:1", "guardrails:1"), device="cpu")


def quickstart_manifests() -> list[dict[str, Any]]:
    """The quickstart's, with its ConfigMap as kustomize makes it."""
    found = []
    for path in sorted(QUICKSTART.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            found += list(yaml.safe_load_all(path.read_text()))
    data = {path.name: path.read_text() for path in (QUICKSTART / "data").iterdir()}
    metadata = {"name": "quickstart-data"}
    return [*found, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}]


def run_dry(*manifests: dict[str, Any], namespace: str = "team", settings: PlanSettings = SETTINGS) -> DryRun:
    dry_run = DryRun(settings)
    for manifest in manifests:
        assert dry_run.add(manifest, namespace)
    dry_run.run_to_end()
    return dry_run


def finished_resources() -> list[dict[str, Any]]:
    """All four kinds at the end of the quickstart, as the API server would give them."""
    found = [state.resource for state in run_dry(*quickstart_manifests()).states.values()]
    for resource in found:
        resource["metadata"]["creationTimestamp"] = format_time(START)
    return found


class GivenResources:
    """Stands in for kubectl: gives the resources it was made with. For the real one see tests/integration."""

    def __init__(self, *looks: list[dict[str, Any]] | CliError) -> None:
        self._looks = list(looks)

    def resources(self, *, everywhere: bool = False) -> list[dict[str, Any]]:
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(look, CliError):
            raise look
        return look

    def resource(self, plural: str, name: str) -> dict[str, Any]:
        for item in self.resources():
            if item["kind"].lower() + "s" == plural and item["metadata"]["name"] == name:
                return item
        raise CliError(f'kubectl says: {plural} "{name}" not found')


def recording_console(width: int = 120, height: int = 40, *, terminal: bool = False) -> Console:
    """A console that keeps what it prints."""
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=terminal,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        color_system="standard" if terminal else None,
    )


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def render_lines(renderable: Any, width: int) -> list[str]:
    """The lines that a terminal of a width would show, without colours."""
    console = recording_console(width)
    console.print(renderable)
    return [line.rstrip() for line in text_of(console).splitlines()]


def with_scores(name: str, scores: list[dict[str, Any]], *, digest: str = "1" * 64) -> dict[str, Any]:
    """A finished SafetyEval with scores as its status has them."""
    return {
        "apiVersion": "modelsafety.dev/v1alpha1",
        "kind": "SafetyEval",
        "metadata": {"name": name, "namespace": "team", "generation": 1},
        "status": {
            "observedGeneration": 1,
            "state": "Succeeded",
            "conditions": [
                {"type": "Ready", "status": "True", "message": "Done."},
                {"type": "SafetyPassed", "status": "False"},
            ],
            "target": {"uri": "hf://org/model@main", "digest": f"sha256:{digest}"},
            "scores": scores,
        },
    }
