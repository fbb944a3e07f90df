"""What an administrator tuned, compared: a backup must not silently undo it."""

from __future__ import annotations

from xenbackup.model.domain import Tuning


def compare_tuning(before: Tuning, after: Tuning) -> tuple[str, ...]:
    """Each difference as a sentence with both values; what was unknown before is not compared."""
    differences = []
    if before.pool and before.pool != after.pool:
        now_in = after.pool or "one that is not known"
        differences.append(f"cpupool: {before.pool} before, {now_in} now")
    if before.vcpus and before.vcpus != after.vcpus:
        differences.append(f"virtual CPUs: {before.vcpus} before, {after.vcpus} now")
    now = {pinning.vcpu: pinning for pinning in after.pinning}
    for pinning in before.pinning:
        current = now.get(pinning.vcpu)
        if current is None:
            differences.append(f"virtual CPU {pinning.vcpu} is not there any more")
        elif current != pinning:
            differences.append(
                f"pinning of virtual CPU {pinning.vcpu}: {pinning.hard} / {pinning.soft} before, "
                f"{current.hard} / {current.soft} now"
            )
    if before.scheduler and before.scheduler != after.scheduler:
        differences.append(f"scheduler: {before.scheduler} before, {after.scheduler} now")
    if before.weight is not None and before.weight != after.weight:
        differences.append(f"scheduler weight: {before.weight} before, {after.weight} now")
    if before.cap is not None and before.cap != after.cap:
        differences.append(f"scheduler cap: {before.cap} before, {after.cap} now")
    return tuple(differences)
