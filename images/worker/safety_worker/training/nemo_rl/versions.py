"""Which function renders, and which model checks, the configuration of which release of NeMo-RL."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from safety_records.stages import PrepareStage
from safety_records.training import NemoRlVersion
from safety_worker.training.nemo_rl.configuration import Configuration, Section
from safety_worker.training.nemo_rl.rendering import Places, render
from safety_worker.training.nemo_rl.yaml_file import Tree
from safety_worker.training.planning import TrainPlan


class Release(NamedTuple):
    """What a release takes."""

    model: type[Section]
    render: Callable[[PrepareStage, TrainPlan, Places], Tree]


RELEASES: Mapping[NemoRlVersion, Release] = {"0.7.0": Release(Configuration, render)}
