"""Known prompt sets: their names, and where their published files are.

Both sides need it: the operator to know what a pod has to reach, the worker to read. What the files hold is
the worker's business (``safety_worker/datasets/presets.py``).
"""

from collections.abc import Iterable

PRESET_URIS = {
    "aegis-v2-test": "hf://nvidia/Aegis-AI-Content-Safety-Dataset-2.0/test.json",
    "wildguard-test": "hf://allenai/wildguardmix/test/wildguard_test.parquet",
    "xstest": "hf://Paul/XSTest/xstest_prompts.csv",
    "advbench": "hf://walledai/AdvBench/data/train-00000-of-00001.parquet",
    "do-not-answer": "",
    "harmbench": "",
    "aegis-v2": "hf://nvidia/Aegis-AI-Content-Safety-Dataset-2.0/train.json",
    "gretel-safety-alignment": "hf://gretelai/gretel-safety-alignment-en-v1",
    "harmful-tasks": "https://raw.githubusercontent.com/CrystalEye42/eval-safety/main/integrated.yaml",
    "redteam-2k": "hf://JailbreakV-28K/JailBreakV-28k/JailBreakV_28K/RedTeam_2K.csv",
    "llama-nemotron": "hf://nvidia/Llama-Nemotron-Post-Training-Dataset/SFT",
    "audit-trail": "",
}
"""By name; empty: part of the worker image, or one's own."""

COMPANIONS = {"harmful-tasks": ("integrated.yaml", "malicious_tasks_dataset.yaml")}
"""Files that belong together, in one folder, by preset: where a URI names the first, the others are
read as well."""


def all_uris(preset: str, uri: str, subsets: Iterable[str] = ()) -> tuple[str, ...]:
    """Every URI of a data set: those of companions, and of the subsets that are wanted of llama-nemotron."""
    if preset == "llama-nemotron" and uri == PRESET_URIS[preset] and subsets:
        return tuple(f"{uri}/{name}" for name in sorted(subsets))
    first, *others = COMPANIONS.get(preset, ("",))
    folder, _, name = uri.rpartition("/")
    return (uri, *(f"{folder}/{other}" for other in others)) if first and name == first else (uri,)
