"""Python code in a model's folder is refused unless it is allowed."""

import json

import pytest

from safety_worker.errors import InputError
from safety_worker.training.nemo_rl.model_code import check_code


def test_a_folder_without_code_is_accepted(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    check_code(tmp_path, allowed=False)


def test_code_is_refused_unless_allowed(tmp_path):
    (tmp_path / "modeling_x.py").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"modeling_x.py.*nemoRl.allowModelCode"):
        check_code(tmp_path, allowed=False)
    check_code(tmp_path, allowed=True)


@pytest.mark.parametrize("allowed", [True, False])
def test_code_that_is_named_and_not_there_is_refused(tmp_path, allowed):
    text = json.dumps({"auto_map": {"AutoModel": "modeling_x.X"}})
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="stored without code"):
        check_code(tmp_path, allowed=allowed)
