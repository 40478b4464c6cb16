"""Whether a pod's memory was full."""

import pytest

from safety_records.result import EXIT_INPUT
from safety_worker.memory_errors import is_pod_full
from safety_worker.training import pod_memory


@pytest.mark.parametrize(
    ("text", "kills"),
    [
        ("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        ("oom_kill_disable 0\n", None),
    ],
)
def test_the_kernels_count_is_read_in_both_versions_of_cgroups(tmp_path, monkeypatch, text, kills):
    (tmp_path / "there").write_text(text)
    monkeypatch.setattr(pod_memory, "COUNTS", (tmp_path / "missing", tmp_path / "there"))
    assert pod_memory.count_kills() == kills


def test_what_says_that_memory_is_full_is_told_with_what_helps():
    words = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"
    assert is_pod_full(RuntimeError(words))
    assert is_pod_full(MemoryError())
    assert not is_pod_full(RuntimeError("CUDA error"))
    found = pod_memory.out_of_memory("the pod has no memory left")
    assert (found.reason, found.exit_code) == ("OutOfMemory", EXIT_INPUT)
    assert "lower batch.micro" in found.message


NODE = "MemTotal:  9000000 kB\nMemAvailable:    4000 kB\n"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 4000 * 1024),
        ({"memory.max": "max", "memory.current": "7"}, 4000 * 1024),
        ({"memory.max": "1000", "memory.current": "700"}, 300),
        (
            {
                "memory.max": "1000",
                "memory.current": "700",
                "memory.stat": "anon 4\nfile 500\ninactive_file 150\nactive_file 50\n",
            },
            500,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "700",
                "memory/memory.stat": "cache 500\ntotal_inactive_file 20\ntotal_active_file 30\n",
            },
            350,
        ),
        ({"memory.max": "1000", "memory.current": "1100"}, 0),
    ],
)
def test_free_memory_is_that_of_the_limit_or_the_node_whichever_is_less(tmp_path, monkeypatch, files, free):
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "meminfo").write_text(NODE)
    monkeypatch.setattr(pod_memory, "CGROUP", tmp_path)
    monkeypatch.setattr(pod_memory, "MEMINFO", tmp_path / "meminfo")
    assert pod_memory.free_bytes() == free


def test_where_nothing_says_what_is_free_nothing_is(tmp_path, monkeypatch):
    monkeypatch.setattr(pod_memory, "CGROUP", tmp_path)
    monkeypatch.setattr(pod_memory, "MEMINFO", tmp_path / "meminfo")
    assert pod_memory.free_bytes() == 0
