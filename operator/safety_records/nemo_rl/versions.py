"""Which function renders, and which model checks, the configuration of which release of NeMo-RL."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from safety_records.finetune_stages import PrepareStage
from safety_records.nemo_rl import overrides
from safety_records.nemo_rl.configuration import Configuration, Section, Tree
from safety_records.nemo_rl.rendering import Places, Steps, render
from safety_records.nemo_rl.settings import check_settings
from safety_records.training import NemoRlVersion


class Release(NamedTuple):
    """What a release takes."""

    model: type[Section]
    render: Callable[[PrepareStage, Steps, Places], Tree]


RELEASES: Mapping[NemoRlVersion, Release] = {"0.7.0": Release(Configuration, render)}


def configure(spec: PrepareStage, steps: Steps, places: Places) -> Tree:
    """The release's configuration with the overrides in it, checked.

    Raises
    ------
    ConfigurationError
        Naming the field or the key, and the remedy.
    """
    check_settings(spec)
    release = RELEASES[spec.nemo_rl.version]
    tree = overrides.merge(release.render(spec, steps, places), spec.overrides)
    overrides.check(release.model, tree)
    overrides.check_rules(tree)
    return tree


def check_early(spec: PrepareStage) -> None:
    """Refuse what settings alone show to be wrong, before rows and model are known.

    Raises
    ------
    ConfigurationError
        Naming the field or the key, and the remedy.
    """
    steps = Steps(spec.steps or max(1, spec.warmup_steps), of_epoch=1)
    configure(spec, steps, Places("model", "train", "validation", "checkpoints", "logs"))
