"""Resources that wait for each other, on a real API server: told at once, and over when the way is broken."""

from tests.integration.conftest import Team
from tests.integration.operator_process import OperatorProcess
from tests.integration.test_life_cycle import BATCH, finetune


def trained_from(name: str, other: str) -> dict[str, object]:
    return finetune(name, model={"finetuneRef": {"name": other}})


def test_a_circle_of_three_is_told_by_all_and_over_by_itself(team: Team, operator: OperatorProcess):
    names = ("one", "two", "three")
    team.apply(
        *(trained_from(name, other) for name, other in zip(names, ("two", "three", "one"), strict=True))
    )
    for name in names:
        told = team.wait("safetyfinetunes", name, "Stalled", "True", reason="ReferenceCycle")
        assert all(f"SafetyFinetune {other}" in told["message"] for other in names)
    assert team.children(BATCH, "jobs") == []
    team.delete("safetyfinetunes", "three")
    for name in ("one", "two"):
        team.wait("safetyfinetunes", name, "Stalled", "False")
    team.apply(finetune("three"))
    assert team.kubelet.job("three", "fetch")
