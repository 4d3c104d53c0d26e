"""Problems of the shares of a plan: missing, repeated, or not of the same plan, commit or environment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vlm_parity.report.entries import ShardEntry
from vlm_parity.schema.share import Share

_MAX_SHOWN_LOADS = 5


@dataclass(frozen=True)
class _PlanShard:
    """A shard that holds a share."""

    name: str
    """As its session named it: merging may have added a number to the folder."""
    share: Share

    @property
    def session(self) -> str:
        """The name without the number of a pytest-xdist worker: ``vllm-2-of-5``."""
        return self.name.partition("-gw")[0]

    @property
    def lane(self) -> str:
        """The name without the share: ``vllm``."""
        suffix = f"{self.share.number}-of-{self.share.count}"
        return self.session.removesuffix(suffix).removesuffix("-")

    def name_share(self, number: int) -> str:
        """Return the name of the shard of another share."""
        return "-".join([*([self.lane] if self.lane else []), f"{number}-of-{self.share.count}"])


def find_share_problems(shards: Iterable[ShardEntry]) -> Iterator[str]:
    """Yield the problems of the shares, plan by plan."""
    plans: dict[str, list[_PlanShard]] = defaultdict(list)
    for shard in shards:
        if shard.record is not None and shard.record.share is not None:
            plans[shard.record.share.plan].append(_PlanShard(shard.record.name, shard.record.share))
    for members in plans.values():
        yield from _find_missing(members)
        yield from _find_repeated(members)
        yield from _find_differing(members)
    yield from _find_other_plans(plans)


def _list_missing(members: list[_PlanShard]) -> list[int]:
    held = {member.share.number for member in members}
    return [number for number in range(1, members[0].share.count + 1) if number not in held]


def _find_missing(members: list[_PlanShard]) -> Iterator[str]:
    first = members[0]
    for number in _list_missing(members):
        loads = first.share.list_loads(number)
        count = sum(load.comparisons for load in loads)
        shown = ", ".join(f"{load.model} {load.engine}" for load in loads[:_MAX_SHOWN_LOADS])
        more = f" and {len(loads) - _MAX_SHOWN_LOADS} more" if len(loads) > _MAX_SHOWN_LOADS else ""
        comparisons = f"{count} comparison{'' if count == 1 else 's'}"
        yield f"shard {first.name_share(number)} is missing: {comparisons} ({shown or 'no load'}{more})"


def _find_repeated(members: list[_PlanShard]) -> Iterator[str]:
    sessions: dict[int, list[str]] = defaultdict(list)
    names = [member.name for member in members]
    for member in members:
        is_other = member.session not in sessions[member.share.number]
        if is_other or names.count(member.name) > 1:
            sessions[member.share.number].append(member.session)
    for number, found in sessions.items():
        if len(found) > 1:
            share = f"share {number} of {members[0].share.count}"
            yield f"{share} is there {len(found)} times: {', '.join(found)}"


def _find_differing(members: list[_PlanShard]) -> Iterator[str]:
    """Yield the properties of the sessions that differ: their commits and the versions of packages."""
    commits = {member.name: member.share.commit or "no commit" for member in members}
    yield from _describe_differing("commit", commits)
    packages = {package for member in members for package in member.share.versions}
    for package in sorted(packages):
        versions = {member.name: member.share.versions.get(package, "not installed") for member in members}
        yield from _describe_differing(package, versions)


def _describe_differing(name: str, values: Mapping[str, str]) -> Iterator[str]:
    first = next(iter(values))
    others = [f"{value} in {name}" for name, value in values.items() if value != values[first]]
    if others:
        yield f"shards of one plan differ in {name}: {values[first]} in {first}, {', '.join(others)}"


def _find_other_plans(plans: Mapping[str, list[_PlanShard]]) -> Iterator[str]:
    """Yield the plans that may be meant to be one: of one name, and one of them lacks shares."""
    lanes: dict[tuple[str, int], list[str]] = defaultdict(list)
    for plan, members in plans.items():
        lanes[members[0].lane, members[0].share.count].append(plan)
    for found in lanes.values():
        if len(found) > 1 and any(_list_missing(plans[plan]) for plan in found):
            names = "; ".join(f"{', '.join(m.name for m in plans[plan])} (plan {plan})" for plan in found)
            yield f"shards of different plans, with other cases, models, options or timings: {names}"
