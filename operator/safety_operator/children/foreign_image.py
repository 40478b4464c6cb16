"""The worker's Python packages inside an image of others, such as NeMo-RL's.

An init container of the worker image copies them into a volume that the pod has for itself. What is called
there may import nothing but the standard library and what that image has.
"""

from typing import Any

from safety_operator.children.pod import Mount, build_container
from safety_operator.children.pod_options import EffectiveOptions
from safety_operator.children.resources import ResourceSet
from safety_operator.state.settings import Images

PACKAGES = "/opt/worker"
"""Where the worker image has its packages (images/worker/Containerfile)."""
WRAPPER_PATH = "/safety-worker"
"""Where the other image finds them: a part of PYTHONPATH."""
WRAPPER_MOUNT = Mount("safety-worker", WRAPPER_PATH, {"emptyDir": {}})
COPYING = ResourceSet(requests={"cpu": "100m", "memory": "64Mi"})
"""The packages have less than 4 MB."""


def copy_container(images: Images, options: EffectiveOptions) -> dict[str, Any]:
    """The init container that copies the packages."""
    return build_container(
        "copy-worker",
        images.worker,
        pull_policy=images.pull_policy,
        resources=COPYING,
        options=options,
        command=("cp", "-R", f"{PACKAGES}/.", WRAPPER_PATH),
        args=(),
        env={},
        mounts=(Mount("safety-worker", WRAPPER_PATH, {"emptyDir": {}}, read_only=False),),
    )
