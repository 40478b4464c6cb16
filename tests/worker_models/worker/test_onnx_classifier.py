"""A text classifier as an ONNX graph, run by the ONNX Runtime and the tokenizers of the image.

The graph was written by tests/unit/worker/support/tiny_onnx.py, with a library that the image lacks.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TINY = HERE.parent.parent / "data/onnx/tiny"

MEASURE = """
import json, sys
from pathlib import Path
from safety_worker.judging.model_classifier import load_model_classifier

classifier = load_model_classifier(Path(sys.argv[1]), ["Toxic"])
texts = ["w3 bad w7", "w1 w2", "w1 " * 500 + "bad"]
print(json.dumps([type(classifier._engine).__name__, classifier(texts)]))
"""

CLIENTS = """
import sys
from safety_worker.transport.bucket import BucketPlace

for uri in ("s3://bucket/x", "gs://bucket/x", "memory://bucket/x"):
    print(type(BucketPlace(uri, "", {})._system).__name__)
"""


def run(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_image_runs_a_graph(worker_environment: dict[str, str]) -> None:
    name, (bad, calm, buried) = json.loads(run(worker_environment, "-c", MEASURE, str(TINY)).splitlines()[-1])
    assert name == "OnnxEngine"
    assert bad > 0.99
    assert calm < 0.01
    assert buried > 0.99


def test_the_image_has_the_clients_of_buckets(worker_environment: dict[str, str]) -> None:
    assert run(worker_environment, "-c", CLIENTS).split() == [
        "S3FileSystem",
        "GCSFileSystem",
        "MemoryFileSystem",
    ]
