"""What a pod knows of its Ray cluster, and what it refuses."""

from pathlib import Path

import pytest

from safety_worker.ray_launcher import EXIT_INPUT, LaunchError, LaunchSettings
from safety_worker.ray_launcher.cpus import ray_cpus, usable_cpus
from safety_worker.ray_launcher.processes import ray_environment


def test_a_pod_of_a_job_reads_its_number_its_run_and_its_address(tmp_path: Path) -> None:
    environment = {"JOB_COMPLETION_INDEX": "1", "SAFETY_RUN": "uid", "SAFETY_POD_IP": "10.0.0.7"}
    found = LaunchSettings.from_environment(environment, launcher="job", nodes=2, gpus=8, folder=tmp_path)
    assert (found.node, found.run, found.host) == (1, "uid", "10.0.0.7")


def test_a_single_pod_needs_no_number(tmp_path: Path) -> None:
    assert LaunchSettings.from_environment({}, launcher="job", nodes=1, gpus=1, folder=tmp_path).node == 0


@pytest.mark.parametrize(("launcher", "nodes"), [("job", 2), ("kuberay", 1)])
def test_a_pod_that_cannot_know_its_cluster_says_which_variable_is_missing(
    tmp_path: Path, launcher: str, nodes: int
) -> None:
    with pytest.raises(LaunchError, match=r"not set: (JOB_COMPLETION_INDEX|RAY_ADDRESS)"):
        LaunchSettings.from_environment({}, launcher=launcher, nodes=nodes, gpus=1, folder=tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "50000 100000"}, 1),
        ({}, 8),
    ],
)
def test_the_limit_of_the_container_counts_before_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path) == cpus


def test_as_many_cpus_as_gpus_are_refused_with_both_numbers() -> None:
    with pytest.raises(LaunchError, match="9 for 8 GPUs, but the container may use 8") as caught:
        ray_cpus(8, 8)
    assert caught.value.code == EXIT_INPUT
    assert ray_cpus(8, 9) == 9


def test_ray_is_given_no_secrets_and_no_other_cluster() -> None:
    given = {"HF_TOKEN": "x", "WANDB_API_KEY": "x", "AWS_SECRET_ACCESS_KEY": "x", "RAY_ADDRESS": "other:1"}
    found = ray_environment(given | {"HOME": "/tmp"})
    assert not given.keys() & found.keys()
    assert found["HOME"] == "/tmp"
    assert found["RAY_memory_monitor_refresh_ms"] == "0"
