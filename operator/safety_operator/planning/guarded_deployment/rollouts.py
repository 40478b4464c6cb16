"""How one Deployment of a guarded model is."""

from dataclasses import dataclass

from safety_operator.planning.engine.problems import Problem
from safety_operator.planning.engine.servers import PodCounts


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a Deployment is."""

    what: str
    """What it is to people, such as ``the model server``."""
    pods: PodCounts | None = None
    """None where it does not exist."""
    complete: bool = False
    """Whether exactly the wanted pods of the newest template are ready, and no others are left."""
    problem: Problem | None = None
    recreate: bool = False
    """Whether an update takes all old pods away before it starts a new one."""
    wait: str = ""
    """What a new pod does before it starts, where nothing is wrong."""

    @property
    def exists(self) -> bool:
        """Whether there is a Deployment."""
        return self.pods is not None

    @property
    def answers(self) -> bool:
        """Whether any pod is ready, of whatever template."""
        return self.pods is not None and self.pods.ready > 0

    @property
    def has_old(self) -> bool:
        """Whether pods of an earlier template are left."""
        return self.pods is not None and self.pods.old > 0

    @property
    def text(self) -> str:
        """What is being waited for."""
        if self.pods is None:
            return f"starting {self.what}"
        if self.recreate and self.has_old:
            return f"waiting for the old pods of {self.what} to end: they go first ({self.pods.old} left)"
        new = "new " if self.has_old else ""
        text = f"waiting for {self.what} ({self.pods.new_ready}/{self.pods.wanted} {new}pods)"
        return f"{text}: {self.wait}" if self.wait else text
