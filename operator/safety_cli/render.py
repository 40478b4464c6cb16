"""``kubectl safety render``: what manifests would make the operator create, without a cluster."""

import json
from collections.abc import Sequence

import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from safety_cli import manifests
from safety_cli.dry_run import DryRun, Made
from safety_cli.errors import EXIT_FAILED, CliError, UsageError
from safety_cli.kubectl import Kubectl
from safety_cli.terminal import TableColumn, build_table, clean, make_console, word
from safety_operator.api.conditions import Reason
from safety_operator.api.kinds import KINDS
from safety_operator.errors import SettingsError
from safety_operator.settings import Settings
from safety_operator.state.settings import DEFAULT_PODS, PlanSettings

CAN_BE_GIVEN = frozenset({Reason.WAITING_FOR_REFERENCE.value, Reason.CONFIG_MAP_MISSING.value})
"""Reasons that another manifest does away with."""


def show(
    console: Console,
    kubectl: Kubectl,
    *,
    files: Sequence[str],
    kustomizations: Sequence[str],
    settings: Sequence[str],
    form: str,
) -> int:
    """Print the objects, and to standard error what has to be known about them.

    Returns
    -------
    int
        0 if every resource came to its end, 1 if one is wrong or waits for something that was not given.

    Raises
    ------
    CliError
        If nothing can be rendered.
    """
    if not files and not kustomizations:
        raise UsageError("Say what to render: -f FILE or -k FOLDER.")
    dry_run = DryRun(parse_settings(settings))
    given = manifests.read_manifests(files, kustomizations)
    ignored = [item for item in given if not dry_run.add(item, kubectl.namespace or "default")]
    if not dry_run.states and not dry_run.refused:
        kinds = ", ".join(kind.kind for kind in KINDS)
        raise CliError(f"There is no resource of the operator's in what was given: none of {kinds}.")
    dry_run.run_to_end()
    if made := dry_run.made():
        _print_made(console, made, form)
    return _print_notes(make_console(error=True), dry_run, len(ignored))


def parse_settings(pairs: Sequence[str]) -> PlanSettings:
    """The operator's settings with ``name=value`` changes. Raises CliError."""
    environment = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        name = name.replace("-", "_")
        if not found or name not in Settings.model_fields:
            raise CliError(
                f"--setting {pair}: write NAME=VALUE with one of device, worker_image, worker_gpu_image, "
                "server_image, guardrails_image, nemo_rl_image, image_pull_policy, image_pull_secrets, "
                "artifacts_claim, pods."
            )
        environment[f"SAFETY_{name.upper()}"] = _over_defaults(value) if name == "pods" else value
    try:
        return Settings.from_environment(environment).for_planning()
    except (SettingsError, ValidationError) as error:
        raise CliError(f"--setting: {error}") from error


def _over_defaults(pods: str) -> str:
    """Options of pods as the chart hands them on: what is not named stays. Other text stays as it is."""
    try:
        named = json.loads(pods)
    except ValueError:
        return pods
    if not isinstance(named, dict):
        return pods
    return json.dumps(DEFAULT_PODS.model_dump(by_alias=True, exclude_unset=True, mode="json") | named)


def _print_made(out: Console, made: Sequence[Made], form: str) -> None:
    if form == "table":
        owners = [f"{item.owner.kind.lower()}/{item.owner.name}" for item in made]
        objects = [f"{item.manifest['kind'].lower()}/{item.manifest['metadata']['name']}" for item in made]
        columns = [
            TableColumn("FOR", [word(text, "") for text in owners]),
            TableColumn("ROLE", [word(item.role, "") for item in made]),
            TableColumn("OBJECT", [word(text, "") for text in objects]),
            TableColumn("", [word("temporary" if item.temporary else "", "dim") for item in made], drop=1),
        ]
        out.print(build_table(columns, out.width))
    elif form == "json":
        listing = {"apiVersion": "v1", "kind": "List", "items": [item.manifest for item in made]}
        out.out(json.dumps(listing, indent=2), highlight=False)
    else:
        for item in made:
            out.out(_yaml(item), end="", highlight=False)


def _yaml(item: Made) -> str:
    """The object below a comment that says whose it is."""
    end = "; deleted in the course of the run" if item.temporary else ""
    text = yaml.dump(item.manifest, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=False)
    return f"---\n# {item.owner.kind} {item.owner.namespace}/{item.owner.name}: {item.role}{end}\n{text}"


class _Dumper(yaml.SafeDumper):
    """Block style throughout and no aliases, as people and kubectl read it."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's own
        """No aliases."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
# So that a text like 1234e567, such as a hash, is written in quotes.
_Dumper.add_implicit_resolver(manifests.FLOAT_TAG, manifests.FLOAT, manifests.FLOAT_STARTS)


def _print_notes(notes: Console, dry_run: DryRun, ignored: int) -> int:
    for namespace, kind, name in sorted(dry_run.assumed):
        notes.print(f"assumed to exist in {clean(namespace)}: {kind} {clean(name)}")
    for key in sorted(dry_run.assumed_finished):
        notes.print(f"assumed to be finished in {clean(key.namespace)}: {key.kind} {clean(key.name)}")
    if ignored:
        notes.print(f"{ignored} other objects were passed over")
    stuck = dry_run.unfinished()
    problems = [("refused", key, text) for key, found in dry_run.refused.items() for text in found]
    problems += [("incomplete", key, str(ready.get("message", ""))) for key, ready in stuck.items()]
    for title, key, text in problems:
        notes.print(Text.assemble((f"{title}: {key.kind} {clean(key.name)}", "bold red"), f": {clean(text)}"))
    if any(ready.get("reason") in CAN_BE_GIVEN for ready in stuck.values()):
        notes.print("What is missing can be given with a further -f.")
    return EXIT_FAILED if problems else 0
