"""From words of a user to settings of a simulation: nodes, quotas, tiers, GPUs that serving takes, models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from comptroller.cluster.job_goodput import GoodputModel, JobGoodput, of_models
from comptroller.cluster.job_simulation import ServingShare
from comptroller.cluster.job_table import SINGULARITY_TIERS, WHOLE, Floats, Ints, JobTable, ServiceTier
from comptroller.errors import FactError, InputError
from comptroller.work.tabular import columns_of, numbers, read_columns

BY_WORK = "work"
"""The quota of each tenant is its share of all GPU-hours: what a partition with foresight would be."""


def node_sizes(words: Sequence[str]) -> tuple[int, ...]:
    """GPUs of each node, from words such as `64x8` or `v100:64x8`, or from a CSV file with a column `gpu` or `gpus`;
    its column `model` or `kind`, if there is one, says of which kind they are.

    Raises:
        InputError: a word is neither.

    >>> node_sizes(["2x8", "k80:1x4"])
    (8, 8, 4)
    """
    return tuple(size for word in words for size, _ in _nodes_of(word))


def node_kinds(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Kinds of GPUs in the order in which they come, and the number of that of each node; one without a name is ``.

    >>> node_kinds(["v100:1x8", "k80:2x8"])
    (('v100', 'k80'), (0, 1, 1))
    """
    kinds = [kind for word in words for _, kind in _nodes_of(word)]
    names = tuple(dict.fromkeys(kinds))
    return names, tuple(names.index(kind) for kind in kinds)


def kind_speeds(words: Sequence[str], tenants: Sequence[str], kinds: Sequence[str]) -> Floats:
    """Speed of each tenant's jobs on each kind of GPU, shape (tenants, kinds), 1 where no word says another: words such
    as `k80=0.25`, of all jobs, or `team/k80=0.1`; a later one goes before an earlier one.

    Raises:
        InputError: a word names no kind or tenant, or no speed from 0 on; or a tenant runs on no kind.

    >>> kind_speeds(["k80=0.25", "b/k80=0"], ["a", "b"], ["v100", "k80"]).tolist()
    [[1.0, 0.25], [1.0, 0.0]]
    """
    found = np.ones((len(tenants), len(kinds)))
    for word in words:
        name, _, number = word.rpartition("=")
        tenant, slash, kind = name.rpartition("/")
        if kind not in kinds or (slash and tenant not in tenants) or not re.fullmatch(r"[0-9]*[.]?[0-9]+", number):
            raise InputError(
                f"--speed {word}: is not KIND=SPEED or TENANT/KIND=SPEED; kinds: {', '.join(kinds)}; tenants: "
                f"{', '.join(tenants[:10])}"
            )
        found[[tenants.index(tenant)] if slash else slice(None), kinds.index(kind)] = float(number)
    if not (found.max(axis=1) > 0).all():
        raise InputError(f"--speed: jobs of {tenants[int(found.max(axis=1).argmin())]} run on no kind of GPU")
    return found


def _nodes_of(word: str) -> list[tuple[int, str]]:
    """GPUs and kind of each node that a word says."""
    if found := re.fullmatch(r"(?:([\w.-]+):)?([1-9][0-9]{0,5})x([1-9][0-9]?)", word):
        return [(int(found[3]), found[1] or "")] * int(found[2])
    if Path(word).is_file():
        return _node_file(Path(word))
    raise InputError(f"--nodes {word}: neither COUNTxGPUS, such as 64x8 or v100:64x8, nor a file")


def _node_file(path: Path) -> list[tuple[int, str]]:
    columns = columns_of(path)
    name = next((name for name in ("gpu", "gpus") if name in columns), None)
    kind = next((name for name in ("model", "kind") if name in columns), None)
    if name is None:
        raise FactError(path.name, "columns", "no column of GPUs", "gpu, gpus")
    line, (gpus,) = read_columns(path, [name], [numbers])
    bad = np.flatnonzero(~((gpus >= 0) & (gpus == np.floor(gpus))))
    if len(bad):
        raise FactError(path.name, name, "is not a whole number from 0 on", line=int(line[bad[0]]))
    kinds = read_columns(path, [kind], [np.array])[1][0] if kind else np.full(len(gpus), "")
    nameless = np.flatnonzero((gpus > 0) & (kinds == "")) if kind else np.zeros(0, np.int64)
    if len(nameless):
        raise FactError(path.name, str(kind), "is empty beside GPUs", "their kind", line=int(line[nameless[0]]))
    return [(int(count), str(kind)) for count, kind in zip(gpus, kinds, strict=True) if count]


def quotas(words: Sequence[str], jobs: JobTable, gpus: int) -> Ints:
    """GPUs of each tenant from words such as `team=64`, or from the one word `work`; none from none.

    Raises:
        InputError: a word is wrong, a tenant has no quota, or together they are more than there are.
    """
    if not words:
        return np.zeros(0, np.int64)
    if list(words) == [BY_WORK]:
        return quotas_by_work(jobs, gpus)
    given = _by_tenant("--quota", words, jobs.tenants)
    lacks = [name for name in jobs.tenants if name not in given]
    if lacks:
        raise InputError(f"--quota: none for {', '.join(lacks[:5])}; each of {len(jobs.tenants)} tenants needs one")
    wrong = [word for word in given.values() if not word.isdigit()]
    if wrong:
        raise InputError(f"--quota: {wrong[0]!r} is not a whole number of GPUs")
    found = np.array([int(given[name]) for name in jobs.tenants], np.int64)
    if found.sum() > gpus:
        raise InputError(f"--quota: {found.sum()} GPUs together, the cluster has {gpus}")
    return _enough(found, jobs)


def quotas_by_work(jobs: JobTable, gpus: int) -> Ints:
    """GPUs of each tenant by the share of GPU-hours that it will have asked for, at least those of its largest job.

    Raises:
        InputError: the largest jobs together ask for more than there is.
    """
    tenants = len(jobs.tenants)
    work = np.bincount(jobs.tenant, weights=jobs.work_gpu_s, minlength=tenants)
    least = largest_jobs(jobs)
    if least.sum() > gpus:
        raise InputError(f"--quota work: the largest jobs of all tenants ask for {least.sum()} GPUs of {gpus}")
    found, open_ = least.copy(), np.ones(tenants, bool)
    while open_.any():  # who gets less than its largest job by its share is given that, the others share what is left
        left = gpus - found[~open_].sum()
        share = np.floor(left * work / max(work[open_].sum(), 1e-9)).astype(np.int64)
        small = open_ & (share < least)
        if not small.any():
            found[open_] = share[open_]
            break
        open_ &= ~small
    return found


def largest_jobs(jobs: JobTable) -> Ints:
    """GPUs of the largest job of each tenant, shape (tenants,)."""
    return np.array(
        [-(-int(jobs.milli[jobs.tenant == tenant].max(initial=0)) // WHOLE) for tenant in range(len(jobs.tenants))]
    )


def _enough(found: Ints, jobs: JobTable) -> Ints:
    short = np.flatnonzero(largest_jobs(jobs) > found)
    if len(short):
        name = jobs.tenants[short[0]]
        raise InputError(
            f"--quota {name}={found[short[0]]}: its largest job asks for {largest_jobs(jobs)[short[0]]} GPUs"
        )
    return found


def jobs_in_tiers(jobs: JobTable, words: Sequence[str]) -> JobTable:
    """Jobs in tiers from words such as `team=premium` or `team=0.8`; tenants without one are basic.

    Raises:
        InputError: a word names no tenant or no tier.
    """
    if not words:
        return jobs
    tiers, of_tenant = list(SINGULARITY_TIERS), np.full(len(jobs.tenants), len(SINGULARITY_TIERS) - 1)
    for name, word in _by_tenant("--tier", words, jobs.tenants).items():
        known = [tier.name for tier in tiers]
        if word not in known:
            if not re.fullmatch(r"0?[.][0-9]+|0", word):
                raise InputError(f"--tier {name}={word}: allowed: {', '.join(known)}, or a share such as 0.8")
            tiers.append(ServiceTier(word, float(word)))
            known.append(word)
        of_tenant[jobs.tenants.index(name)] = known.index(word)
    return jobs.in_tiers(tuple(tiers), of_tenant)


def _by_tenant(option: str, words: Sequence[str], tenants: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in words:
        name, mark, value = text.rpartition("=")
        if not mark or name not in tenants:
            known = ", ".join(tenants[:10]) + (", ..." if len(tenants) > 10 else "")
            raise InputError(f"{option} {text}: is not TENANT=VALUE; tenants: {known}")
        given[name] = value
    return given


def serving_share(path: Path) -> ServingShare:
    """GPUs that serving takes, of a CSV file with columns `at_s` and `gpus`.

    Raises:
        FactError: it lacks a column, times do not rise, or a count is not whole.
    """
    line, (at_s, gpus) = read_columns(path, ["at_s", "gpus"], [numbers, numbers])
    bad = np.flatnonzero(~(np.isfinite(at_s) & (at_s >= 0) & (gpus >= 0) & (gpus == np.floor(gpus))))
    if len(bad):
        raise FactError(path.name, "at_s, gpus", "not a time from 0 s on and a whole number", line=int(line[bad[0]]))
    late = np.flatnonzero(np.diff(at_s) <= 0)
    if len(late):
        raise FactError(path.name, "at_s", "does not rise", line=int(line[late[0] + 1]))
    return ServingShare(at_s, gpus.astype(np.int64))


def goodput_of_jobs(path: Path, jobs: JobTable, nodes: Sequence[int]) -> JobGoodput:
    """Goodput of jobs by a table of models: a row each, a column for each field of `GoodputModel`.

    Raises:
        FactError: the file lacks a column, a cell is wrong, or a model stands twice.
        InputError: the jobs do not say their model, one has no row, or cannot train on what its jobs ask for.
    """
    return of_models(models_of_file(path), jobs, nodes, path.name)


def models_of_file(path: Path) -> list[GoodputModel]:
    """The rows of such a table; raises as `goodput_of_jobs`."""
    if not path.is_file():
        raise FactError(str(path), "file", "is not there")
    names = list(GoodputModel.__dataclass_fields__)
    columns = columns_of(path)
    if lacks := [name for name in names if name not in columns]:
        raise FactError(path.name, "columns", f"none is called {lacks[0]}", ", ".join(names))
    texts = ("model", "source")
    lines, cells = read_columns(path, names, [np.array if name in texts else numbers for name in names])
    by_name = dict(zip(names, cells, strict=True))
    for name in [name for name in names if name not in texts]:
        wrong = np.flatnonzero(~np.isfinite(by_name[name]))
        if len(wrong):
            raise FactError(path.name, name, "is no number", line=int(lines[wrong[0]]))
    rows = [GoodputModel(*(str(x) if n in texts else float(x) for n, x in zip(names, row, strict=True)))  # type: ignore[arg-type]
            for row in zip(*cells, strict=True)]  # fmt: skip
    twice = [row.model for n, row in enumerate(rows) if row.model in [one.model for one in rows[:n]]]
    if twice:
        raise FactError(path.name, "model", f"{twice[0]} stands twice")
    return rows
