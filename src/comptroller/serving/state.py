"""What the engine remembers: a record per request and per rank, one clock, and arrays they point into."""

from __future__ import annotations

from collections import namedtuple
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

TICKS_PER_S = float(1 << 38)
"""Time is counted in whole ticks of 3.6 ps, so that sums are exact in any order and ties are ties. The finer the tick,
the sooner 64 bits are full: see LATEST_S, which halves when this doubles."""
NEVER = 1 << 62
"""The key of an event that does not happen: above every other, and with room to add to it in 64 bits."""
FOREVER = (NEVER >> 2) - 1
"""The last tick that has a key below NEVER."""
END, ARRIVE, START, OVER = 0, 1, 2, 3
"""What happens first within one tick: steps end, then calls arrive, then steps start; then it is over. An
event's key is 4 * tick + phase; what is submitted once steps start arrives in the next tick."""
LATEST_S = float(NEVER >> 3) / TICKS_PER_S
"""The latest arrival that can be simulated, in seconds: 24 days, half of what the key of an event can hold, so that
what arrives last has as long to end."""


def ticks(seconds: float) -> int:
    """Whole ticks of a time.

    Raises:
        InputError: the time is beyond what can be simulated.
    """
    if not 0 <= seconds < LATEST_S:
        raise InputError(f"{seconds:g} s is outside what can be simulated (0 to {LATEST_S / 86400:.0f} days)")
    return int(seconds * TICKS_PER_S + 0.5)


class RequestState(IntEnum):
    """Where a request is. The last three are final."""

    PENDING = 0
    BLOCKED = 1
    TIMED = 2
    WAITS = 3
    QUEUED = 4
    PREFILL = 5
    HANDED = 6
    MOVING = 7
    LANDED = 8
    DECODE = 9
    SWAPPED = 10
    LOADING = 11
    LOADED = 12
    DONE = 13
    CANCELLED = 14
    REFUSED = 15


class PoolRole(IntEnum):
    """What a replica is for."""

    MIXED = 0
    PROMPT = 1
    TOKEN = 2


class ReturnReason(IntEnum):
    """Why the kernel returned."""

    IDLE = 0
    REACHED = 1
    COMPLETED = 2
    SAMPLE = 3
    CROWDED = 4


class GroupActivity(IntEnum):
    """What a group of ranks is doing."""

    IDLE = 0
    READY = 1
    STEP = 2
    RUN = 3


def _fields(kind: str, names: str) -> list[tuple[str, str]]:
    return [(name, kind) for name in names.split()]


JOB = np.dtype(
    _fields("f8", "arrival_s wait_s priority")
    + _fields("i8", "session blocks parent")
    + _fields("i4", "prompt output predicted block_count tenant")
    + _fields("i2", "service watched")
    + _fields("i4", "awaits joins adapter kept")
)
"""A request as it enters: tokens (both 0: a wait of wait_s, else wait_s passes between its parent and it), who it
belongs to, where its blocks start; how many requests it awaits, if several; one more than the id that awaits it so;
one more than its adapter's place, 0 for none; prompt tokens whose cache comes with it, from a replica that is gone."""

RESULT = np.dtype(
    _fields("i8", "arrival started first last")
    + _fields("f8", "j_prefill j_decode j_waste device_s usd")
    + _fields("i4", "generated cached computed recomputed preemptions steps prompt_rank token_rank")
    + _fields("i4", "loaded adapter_loads")
    + _fields("i4", "state slot")
)
"""What became of a request: ticks (-1 never), joules, tokens; `loaded`, those that came from a store outside the
device, `adapter_loads`, how often its adapter was fetched for it. `slot` is where it lives while it does; after that,
the next in the list of ended requests to report."""

ResultRow: Any = namedtuple("ResultRow", RESULT.names or ())  # type: ignore[misc]
"""What became of one request, as Python's own numbers."""

# One width of integer in what functions pass around: the kernel would be compiled once for each width.
REQUEST = np.dtype(
    _fields(
        "i8",
        # read and written while it queues
        "id state left right heaped order arrival prompt output predicted session tenant watched "
        "prompt_rank token_rank prompt_held child sibling awaits started first "
        # while it runs
        "rank home held blocks block_count goal done high generated target base entered steps "
        "cached computed recomputed preemptions cancelled adapter adapter_slot ready loaded adapter_loads copied epoch",
    )
    + _fields("f8", "a0 a1 even share j_decode device_s usd j_prefill j_waste key rank_key priority fair_start counter")
)
"""A request from its arrival to its end; the place is used again after that."""

RANK = np.dtype(
    _fields(
        "i8",
        # what it is
        "leader ranks pool own_pool peer service max_batch chunk block capacity context verify host "
        "cache_blocks prefix_tokens fixed parts part_table block_units server_chunk "
        "nk nt np kv_x kv_v kv_m kv_a kv_b tokens pairs run due pre hist "
        "buckets bucket_mask entries entry_count tags levels "
        # who is on it
        "queue intake landed waiting batch pre_count pre_left moving arrived cancels sum g phase used swapped "
        "held_entries idle_entries oldest newest spare evictions link_free "
        # what it loads from outside, and whose turn it is
        "store shared_store loaded load_free slots slot_table slot_turn adapter_ticks adapter_loads "
        "turns counters last_turn epoch swap_chunk swap_chunk_ticks swap_beside lanes own_stores timed_writes "
        # what it does
        "kind since started planned length poked budget step_prompt step_decode stall disturbed freed own_ticks "
        "level level_due besides part_ticks "
        # what it did
        "busy steps prompt_done decode_done recomputed",
    )
    + _fields("f8", "chance idle_w swap_ticks move_ticks usd_per_s step_pairs virtual a0 a1 even share joules part_j")
    + _fields("f8", "server_s server_share")
)

LEVEL_FIELDS = ("nk", "nt", "np", "kv_x", "kv_v", "kv_m", "kv_a", "kv_b", "tokens", "pairs")
"""What of a rank is its step table; each level of it has a row of these at `levels`."""

CLOCK = np.dtype(
    _fields(
        "i8",
        "now count entering stream stream_last timed spare spares tree leaves pokes poke_count cancels scratch "
        "out_first out_last out_key seen snapshots snapshot_depth snapshot_every snapshot_delay next_snapshot "
        "snapshot_count sample_every next_sample ranks services candidates routing handoff batching scheduling "
        "turn seed evicts needs_kv needs_match max_pending shortest fault tenants counts every server_waits",
    )
    + _fields("f8", "bound overlap input_weight output_weight")
)

STORE = np.dtype(
    _fields("i8", "next shared entry_count buckets bucket_mask entries oldest newest spare count block_ticks")
    + _fields("i8", "write_ticks duplex loads writes evictions")
)
"""A store of blocks outside of devices: the one after it (-1: none), how many blocks it takes, how long each occupies
the link of a rank that loads it or writes it, and whether the two directions do not hold each other up."""

CANCELS = 1024
"""How many requests the kernel cancels in one call; the engine calls it once more for every further thousand."""


class KernelWorld(NamedTuple):
    """Everything the kernel works on. Records hold offsets into `ints`, `floats` and `blocks`; `jobs` and
    `results` go by a request's id, `requests` by its slot."""

    jobs: Any
    results: Any
    requests: Any
    ranks: Any
    clock: Any
    stores: Any
    ints: npt.NDArray[np.int64]
    floats: npt.NDArray[np.float64]
    blocks: npt.NDArray[np.int64]


def records(dtype: np.dtype[np.void], count: int) -> Any:
    """Zeroed records whose fields are attributes."""
    return np.zeros(count, dtype).view(np.recarray)


class ArrayArena:
    """Hands out stretches of one growing array."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._parts: list[npt.NDArray[Any]] = []
        self._size = 0

    def put(self, values: npt.ArrayLike) -> int:
        """Offset at which the values will stand."""
        array = np.ravel(np.asarray(values, self._dtype))
        self._parts.append(array)
        self._size += array.size
        return self._size - array.size

    def room(self, count: int, fill: float = 0) -> int:
        """Offset of a stretch filled with one value."""
        return self.put(np.full(count, fill))

    def array(self) -> npt.NDArray[Any]:
        """The whole array."""
        return np.concatenate([*self._parts, np.zeros(1, self._dtype)])
