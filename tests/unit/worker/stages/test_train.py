"""The train stage where another image trains."""

from pathlib import Path

import pytest

from safety_records.finetune_stages import TrainStage
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.context import StageContext
from safety_worker.errors import InfrastructureError
from safety_worker.stages.train import run


def test_a_result_that_another_image_has_not_left_yet_is_asked_for_again(tmp_path: Path):
    store = ArtifactStore(f"file://{tmp_path}")
    context = StageContext(store=store, inputs=tmp_path, report_progress=lambda _: None, environment={})
    spec = TrainStage.model_construct(backend="nemo-rl", out="team/train-1")
    with pytest.raises(InfrastructureError, match="no finished training") as caught:
        run(spec, context)
    assert caught.value.reason == "NoResultYet"
