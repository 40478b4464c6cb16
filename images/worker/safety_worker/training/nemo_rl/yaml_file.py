"""The configuration as YAML that PyYAML and NeMo-RL's OmegaConf read alike."""

from pathlib import Path

import yaml

from safety_records.nemo_rl.configuration import Tree
from safety_worker.artifacts.files import atomic_write_text


class _Dumper(yaml.SafeDumper):
    """Quotes texts that look like numbers: OmegaConf reads 5e-07 as one, PyYAML does not."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    try:
        float(value)
    except ValueError:
        return dumper.represent_str(value)
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'")


_Dumper.add_representer(str, _text)


def to_yaml(tree: Tree) -> str:
    """The text of the file; numbers are written as 5.0e-07, which every reader takes for a number."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def write(path: Path, tree: Tree) -> None:
    """Write the file, by rename."""
    atomic_write_text(path, to_yaml(tree))


def read(path: Path) -> Tree:
    """The configuration in a file."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found
