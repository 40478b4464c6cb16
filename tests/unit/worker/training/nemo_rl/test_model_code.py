"""A model that needs Python code of its own is refused: NeMo-RL would run it."""

import json

import pytest

from safety_worker.errors import InputError
from safety_worker.training.nemo_rl.model_code import check_code


def test_a_folder_without_code_is_accepted(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    check_code(tmp_path)


def test_code_in_the_folder_is_refused(tmp_path):
    (tmp_path / "modeling_x.py").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"ModelCode: the model holds modeling_x.py.*Use backend trl"):
        check_code(tmp_path)


def test_code_that_is_named_is_refused(tmp_path):
    text = json.dumps({"auto_map": {"AutoModel": "modeling_x.X"}})
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"config.json of the model names Python code.*stored without code"):
        check_code(tmp_path)
