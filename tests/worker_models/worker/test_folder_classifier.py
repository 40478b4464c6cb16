"""A text classifier of one's own, read by the real transformers."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

MEASURE = """
import json, shutil, sys
from pathlib import Path
from transformers import AutoModel
from safety_worker.errors import InputError
from safety_worker.judging.model_classifier import load_model_classifier

folder = Path(sys.argv[1])
classifier = load_model_classifier(folder, ["Toxic"])
calm = "w1 w2 w3 w4 w5"
result = {
    "short": classifier(["w3 bad w7 w8 w9", calm]),
    "none": classifier([]),
    "buried": classifier([" ".join([calm] * 100) + " w3 bad w7 w8 w9"]),
    "many": len(classifier([calm] * 50)),
    "empty": classifier([""]),
}
for labels in (["nothing"], [], ["toxic", "fine"]):
    try:
        load_model_classifier(folder, labels)
    except InputError as error:
        result[str(labels)] = error.message
def refusal(folder):
    try:
        load_model_classifier(folder, ["toxic"])
    except InputError as error:
        return str(error)

result["no model"] = refusal(folder.parent)
headless = shutil.copytree(folder, folder.parent / "headless")
AutoModel.from_pretrained(str(folder)).save_pretrained(str(headless))
result["headless"] = refusal(headless)
(headless / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])
result["damaged"] = refusal(headless)
(headless / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
config = json.loads((folder / "config.json").read_text()) | {"vocab_size": 7}
(headless / "config.json").write_text(json.dumps(config))
result["other sizes"] = refusal(headless)
(folder / "tokenizer.json").write_text(
    (folder / "tokenizer.json").read_text().replace('"bad": 4', '"bad": 999999')
)
try:
    load_model_classifier(folder, ["toxic"])(["bad"])
except InputError as error:
    result["no such token"] = str(error)
print(json.dumps(result))
"""


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_a_classifier_of_ones_own_finds_what_it_was_taught(
    problem: str, tmp_path: Path, worker_environment: dict[str, str]
) -> None:
    folder = tmp_path / "classifier"

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            env=worker_environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run(str(HERE / "tiny_classifier.py"), str(folder), problem)
    found: dict[str, Any] = json.loads(run("-c", MEASURE, str(folder)).splitlines()[-1])
    bad, calm = found["short"]
    assert bad > 0.5 > calm
    assert found["none"] == []
    assert found["buried"][0] > 0.5, "the last of many windows"
    assert found["many"] == 50
    assert math.isnan(found["empty"][0]), "nothing was read, so nothing is called safe"
    assert "the model has fine, toxic" in found["['nothing']"]
    assert "[]" in found
    assert "['toxic', 'fine']" in found
    assert found["headless"].startswith("NoClassifier: judges[].model has no weights for classifier.")
    for name in ("no model", "damaged", "other sizes", "no such token"):
        assert found[name].startswith("NoClassifier: "), name
