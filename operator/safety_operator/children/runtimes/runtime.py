"""What an inference engine has to say of itself, and what it is asked to serve."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safety_operator.api.common import Serving
from safety_operator.children.deployment import RECREATE
from safety_operator.children.metadata import Owner
from safety_operator.children.pod import Mount, SecretEnv
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet
from safety_operator.state.settings import Images

SERVED_NAME = "model"
"""Name of the model in requests."""


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A server that is wanted."""

    owner: Owner
    role: str
    name: str
    serving: Serving
    device: str
    model_path: str
    """Folder of the model relative to the artifact root."""
    claim: str
    images: Images
    options: EffectiveOptions
    replicas: int | None = 1
    """None: an autoscaler decides on it."""
    serves_people: bool = False
    """Whether requests of people go to it: its pods are spread over nodes, and answer what they have before
    they end."""
    digest: str = ""
    """Digest that the model's files have to have when the server starts; empty: they are not compared."""
    queue: str = ""
    """Kueue's queue; its webhook for Deployments hands the label on to the pods, as is done here."""
    api_key: SecretEnv | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    """Annotations of the Deployment."""
    pod_annotations: dict[str, str] = field(default_factory=dict)
    """Annotations of the pods: a change rolls them."""
    pod_labels: dict[str, str] = field(default_factory=dict)
    """Further labels of the pods."""
    strategy: dict[str, Any] = field(default_factory=lambda: RECREATE)
    """How an update replaces pods. Of temporary servers the old pod goes first: one accelerator is enough."""

    @property
    def image(self) -> str:
        """The engine's image: the spec's, else the chart's for the device."""
        return self.serving.image or self.images.server_on(self.device)


@dataclass(frozen=True, slots=True)
class Runtime:
    """An engine with OpenAI's API. It listens at ``service.SERVER_PORT``, on all addresses of its pod."""

    module: str
    """Python module that serves, of the engine's own package: any image that has it will do. Empty: the image
    starts by itself, and none of our code runs in it."""
    arguments: Callable[[ModelServer], tuple[str, ...]]
    """All arguments, those of ``spec.serving.args`` last."""
    environment: Callable[[ModelServer, ResourceSet], Mapping[str, str]]
    """Variables, by what the container asks for and may take."""
    key_env: str
    """Variable that holds the API key which the engine asks of clients; empty: it asks for none."""
    gpus: Callable[[Serving], int]
    """GPUs of a pod."""
    resources: Mapping[str, ResourceSet]
    """By device: what a container asks for where nothing else is given, GPUs and their processes apart."""
    startup_seconds: Mapping[str, int]
    """By device: how long loading and compiling may take before the engine counts as hung."""
    shared_memory: Mapping[str, str]
    """By device: size of /dev/shm."""
    start_cache: Mapping[str, str] = field(default_factory=dict)
    """Variables that put all that it compiles below a folder, by their folders below that."""
    cpus_per_gpu: int = 1
    """CPUs that a container asks for besides, for the process of each of its GPUs."""
    mounts: Callable[[ModelServer], tuple[Mount, ...]] = lambda _: ()
    """Further volumes."""
    secrets: Callable[[ModelServer], tuple[SecretEnv, ...]] = lambda _: ()
    """Variables from Secrets, besides the API key."""
    writes_anywhere: bool = False
    """Whether the image wants to write outside of its volumes."""
    alive_path: str = "/health"
    ready_path: str = "/health"
    metrics_path: str = "/metrics"

    def asks_for(self, device: str, gpus: int) -> ResourceSet:
        """What a container asks for with so many GPUs, these apart."""
        return self.resources[device].with_cpus(self.cpus_per_gpu * gpus)
