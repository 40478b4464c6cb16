"""YAML that PyYAML and OmegaConf read alike."""

import re

import yaml
from tests.unit.worker.training.nemo_rl.nemo import stage

from safety_records.nemo_rl.rendering import Places, Steps
from safety_records.nemo_rl.versions import configure
from safety_worker.training.nemo_rl import yaml_file

PLACES = Places("/a/m", "/a/o/train.jsonl", "/a/o/validation.jsonl", "checkpoints", "logs")


def test_numbers_are_written_so_that_every_reader_takes_them_for_numbers():
    spec = stage(overrides={"policy.optimizer.kwargs.eps": 1e-9})
    tree = configure(spec, Steps(40, 24), PLACES)
    text = yaml_file.to_yaml(tree)
    assert yaml.safe_load(text) == tree
    exponents = re.findall(r"\S*\de[-+]\d+", text)
    assert exponents == [found for found in exponents if "." in found]
    assert yaml_file.to_yaml({"name": "5e-07"}) == "name: '5e-07'\n"
