"""Volumes that pods read: claims, and images as volumes (KEP 4639)."""

from collections.abc import Iterable

from safety_operator.children.pod import ARTIFACTS, Mount
from safety_records.in_place import Volume


def volume_mounts(volumes: Iterable[Volume], store: str) -> tuple[Mount, ...]:
    """Mounts of volumes, read-only, each where :class:`Volume` says.

    Parameters
    ----------
    volumes
        Each once.
    store
        The claim of the artifact store, where the pod mounts it: a claim is one volume of a pod, at however
        many places; empty: the pod does not.
    """
    counted: dict[str, int] = {"pvc": 0, "oci": 0}
    found = []
    for volume in volumes:
        index = counted[volume.kind]
        counted[volume.kind] += 1
        is_store = volume == Volume("pvc", store)
        found.append(_mount(volume, ARTIFACTS if is_store else f"{volume.kind}-{index}", is_store=is_store))
    return tuple(found)


def _mount(volume: Volume, name: str, *, is_store: bool) -> Mount:
    if volume.kind == "oci":
        return Mount(name, volume.path, {"image": {"reference": volume.name, "pullPolicy": "IfNotPresent"}})
    claim = {"claimName": volume.name} | ({} if is_store else {"readOnly": True})
    return Mount(name, volume.path, {"persistentVolumeClaim": claim})
