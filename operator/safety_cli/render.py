"""``kubectl safety render``: what manifests would make the operator create, without a cluster."""

import json
from collections.abc import Sequence

import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from safety_cli import manifests
from safety_cli.dry_run import DryRun, Made
from safety_cli.errors import EXIT_FAILED, CliError
from safety_cli.terminal import TableColumn, build_table, clean, word
from safety_operator.api.kinds import KINDS
from safety_operator.errors import SettingsError
from safety_operator.settings import Settings
from safety_operator.state.settings import PlanSettings


def show(
    out: Console,
    notes: Console,
    *,
    files: Sequence[str],
    kustomizations: Sequence[str],
    namespace: str,
    settings: Sequence[str],
    form: str,
) -> int:
    """Print the objects to ``out`` and what has to be known about them to ``notes``.

    Returns
    -------
    int
        0 if every resource came to its end, 1 if one is wrong or waits for something that was not given.

    Raises
    ------
    CliError
        If nothing can be rendered.
    """
    dry_run = DryRun(parse_settings(settings))
    ignored = [
        item
        for item in manifests.read_manifests(files, kustomizations)
        if not dry_run.add(item, namespace or "default")
    ]
    if not dry_run.states:
        kinds = ", ".join(kind.kind for kind in KINDS)
        raise CliError(f"There is no resource of the operator's in what was given: none of {kinds}.")
    dry_run.run_to_end()
    _print_made(out, dry_run.made(), form)
    return _print_notes(notes, dry_run, len(ignored))


def parse_settings(pairs: Sequence[str]) -> PlanSettings:
    """The operator's settings with ``name=value`` changes. Raises CliError."""
    environment = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        name = name.replace("-", "_")
        if not found or name not in Settings.model_fields:
            raise CliError(
                f"--setting {pair}: write NAME=VALUE with one of device, worker_image, server_image, "
                "guardrails_image, image_pull_policy, image_pull_secrets, artifacts_claim, pods."
            )
        environment[f"SAFETY_{name.upper()}"] = value
    try:
        return Settings.from_environment(environment).for_planning()
    except (SettingsError, ValidationError) as error:
        raise CliError(f"--setting: {error}") from error


def _print_made(out: Console, made: Sequence[Made], form: str) -> None:
    if form == "table":
        columns = [
            TableColumn("FOR", [word(f"{item.owner.kind.lower()}/{item.owner.name}", "") for item in made]),
            TableColumn("ROLE", [word(item.role, "") for item in made]),
            TableColumn(
                "OBJECT", [word(f"{item.manifest['kind'].lower()}/{_name(item)}", "") for item in made]
            ),
            TableColumn("", [word("temporary" if item.temporary else "", "dim") for item in made], drop=1),
        ]
        out.print(build_table(columns, out.width))
    elif form == "json":
        listing = {"apiVersion": "v1", "kind": "List", "items": [item.manifest for item in made]}
        out.out(json.dumps(listing, indent=2), highlight=False)
    else:
        for item in made:
            out.out(f"---\n{_comment(item)}\n{_dump(item)}", end="", highlight=False)


def _name(item: Made) -> str:
    return str(item.manifest["metadata"]["name"])


def _comment(item: Made) -> str:
    end = "; taken away in the course of the run" if item.temporary else ""
    return f"# {item.owner.kind} {item.owner.namespace}/{item.owner.name}: {item.role}{end}"


def _dump(item: Made) -> str:
    text: str = yaml.dump(item.manifest, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=False)
    return text


class _Dumper(yaml.SafeDumper):
    """Block style throughout and no aliases, as people and kubectl read it."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's own
        """No aliases."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _print_notes(notes: Console, dry_run: DryRun, ignored: int) -> int:
    for home, kind, name in sorted(dry_run.assumed):
        notes.print(f"assumed to exist in {clean(home)}: {kind} {clean(name)}")
    for key in sorted(dry_run.assumed_finished):
        notes.print(f"assumed to be finished in {clean(key.namespace)}: {key.kind} {clean(key.name)}")
    if ignored:
        notes.print(f"{ignored} other objects were passed over")
    stuck = dry_run.unfinished()
    for key, message in stuck.items():
        text = clean(message)
        notes.print(Text.assemble((f"incomplete: {key.kind} {clean(key.name)}", "bold red"), f": {text}"))
    if stuck:
        notes.print("What it waits for can be given with a further -f.")
        return EXIT_FAILED
    return 0
