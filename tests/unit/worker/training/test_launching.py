"""Which error of several processes is told."""

import pytest
from tests.unit.worker.training.test_planning import stage

from safety_records.result import EXIT_INPUT, EXIT_INTERRUPTED, FailureClass, StageFailure, StageResult
from safety_worker.errors import InfrastructureError
from safety_worker.termination import PATH_VARIABLE
from safety_worker.training import launching
from safety_worker.training.launching import ABORTED, first_error, launch, read_record
from safety_worker.training.peer_loss import MAX_LOSSES


def leave(folder, rank, kind, reason):
    failure = StageFailure(failure=kind, reason=reason, message=f"of {rank}")
    result = StageResult(stage="train", inputs_hash="h", failure=failure)
    (folder / f"{rank}.json").write_text(result.to_json())


def test_what_a_person_must_do_explains_the_others(tmp_path):
    leave(tmp_path, 0, FailureClass.INFRASTRUCTURE, "PeerLost")
    leave(tmp_path, 1, FailureClass.INPUT, "LossNotFinite")
    found = first_error(tmp_path, {0: EXIT_INTERRUPTED, 1: EXIT_INPUT})
    assert (found.reason, found.exit_code) == ("LossNotFinite", EXIT_INPUT)


def test_a_lost_peer_explains_nothing(tmp_path):
    leave(tmp_path, 0, FailureClass.INFRASTRUCTURE, "PeerLost")
    leave(tmp_path, 2, FailureClass.INFRASTRUCTURE, "StorageError")
    assert first_error(tmp_path, {0: EXIT_INTERRUPTED, 2: 1}).reason == "StorageError"


def test_where_all_have_lost_a_peer_it_is_on_another_node_and_counts_for_nothing(tmp_path):
    leave(tmp_path, 0, FailureClass.INFRASTRUCTURE, "PeerLost")
    found = first_error(tmp_path, {0: EXIT_INTERRUPTED})
    assert found.exit_code == EXIT_INTERRUPTED


def test_a_killed_process_leaves_no_record_and_is_named(tmp_path):
    leave(tmp_path, 0, FailureClass.INFRASTRUCTURE, "PeerLost")
    found = first_error(tmp_path, {0: EXIT_INTERRUPTED, 1: -9})
    assert (found.reason, found.exit_code) == ("ProcessEnded", 1)
    assert found.message.startswith("process 1 ended (exit code -9)")


def test_a_process_that_the_kernel_killed_for_memory_says_what_helps_and_is_not_tried_again(tmp_path):
    leave(tmp_path, 0, FailureClass.INFRASTRUCTURE, "PeerLost")
    found = first_error(tmp_path, {0: EXIT_INTERRUPTED, 1: -9}, memory_kills=True)
    assert (found.reason, found.exit_code) == ("OutOfMemory", EXIT_INPUT)
    assert "process 1 was killed" in found.message
    assert "spec.compute.resources.limits.memory" in found.message


def test_another_signal_is_no_lack_of_memory(tmp_path):
    assert first_error(tmp_path, {0: -11}, memory_kills=True).reason == "ProcessEnded"


@pytest.mark.parametrize("code", [EXIT_INTERRUPTED, -15])
def test_processes_that_were_asked_to_end_count_for_nothing(tmp_path, code):
    found = first_error(tmp_path, {0: code, 1: code})
    assert (found.reason, found.exit_code) == ("Interrupted", EXIT_INTERRUPTED)


def test_a_damaged_record_is_none(tmp_path):
    (tmp_path / "0.json").write_text("{")
    assert read_record(tmp_path, 0) is None
    assert read_record(tmp_path, 1) is None


@pytest.mark.parametrize(
    ("elsewhere", "reason", "code"), [(True, ABORTED, EXIT_INTERRUPTED), (False, "ProcessEnded", 1)]
)
def test_a_process_that_nccl_aborts_has_lost_another_pod_where_there_is_one(
    tmp_path, elsewhere, reason, code
):
    found = first_error(tmp_path, {8: -6, 9: EXIT_INTERRUPTED}, elsewhere=elsewhere)
    assert (found.reason, found.exit_code) == (reason, code)


def test_a_process_that_ended_by_itself_explains_those_that_nccl_aborts(tmp_path):
    assert first_error(tmp_path, {8: -6, 9: -11}, elsewhere=True).message.startswith("process 9 ended")


@pytest.mark.parametrize(("node", "reason"), [("0", "PeersKeepEnding"), ("1", "PeerLost")])
def test_pods_that_are_lost_again_and_again_count_in_the_end_for_the_first(
    tmp_path, monkeypatch, node, reason
):
    monkeypatch.setattr(launching, "_run_all", lambda _spec, _node, _file: {3: -6})
    for name in (PATH_VARIABLE, "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "of others")  # and given back
    spec = stage(nodes=2, processes=8, device="gpu")
    variables = {"JOB_COMPLETION_INDEX": node, "MASTER_ADDR": "a"}
    told = []
    for _ in range(MAX_LOSSES + 1):
        with pytest.raises(InfrastructureError) as caught:
            launch(spec, variables, tmp_path)
        told.append(caught.value.reason)
    assert told == ["PeerLost"] * MAX_LOSSES + [reason]
