"""A pipeline run event by event: what each device does in which order, how long it idles, how much it holds.

Orders are written out from the papers and PyTorch's schedules, not from the package: a list of passes (F, B for inputs,
W for weights; `B` alone where both are one) for each device. A pass begins when its device is free and what it needs is
there; sends take no time.
"""

from __future__ import annotations

Pass = tuple[str, int, int]
"""Kind, stage (of all devices' chunks), microbatch."""

Orders = list[list[Pass]]


def in_turn(devices: int, rounds: int) -> Orders:
    """1F1B (PipeDream-Flush)."""
    orders: Orders = []
    for d in range(devices):
        ahead = min(devices - d - 1, rounds)
        order: list[Pass] = [("F", d, i) for i in range(ahead)]
        for i in range(rounds - ahead):
            order += [("F", d, ahead + i), ("B", d, i)]
        orders.append(order + [("B", d, rounds - ahead + i) for i in range(ahead)])
    return orders


def by_chunk(devices: int, chunks: int, rounds: int, split: bool) -> Orders:
    """Interleaved 1F1B, or with `split` ZB-H1 on any number of chunks: half as far ahead, W of a microbatch as many
    passes late as the device's number."""
    orders: Orders = []
    for d in range(devices):
        total = rounds * chunks
        ahead = min((chunks - 1) * devices + (1 if split else 2) * (devices - 1 - d), total)
        order = [forward(i, d, devices, chunks) for i in range(ahead)]
        ended = 0
        for i in range(total):
            order += [forward(ahead + i, d, devices, chunks)] if ahead + i < total else []
            order.append(backward(i, d, devices, chunks))
            if split and i >= d:
                order.append(("W", *backward(ended, d, devices, chunks)[1:]))
                ended += 1
        while split and ended < total:
            order.append(("W", *backward(ended, d, devices, chunks)[1:]))
            ended += 1
        orders.append(order)
    return orders


def forward(step: int, device: int, devices: int, chunks: int) -> Pass:
    """The so-many-th forward pass of a device: a round of the devices' microbatches a chunk."""
    whole, rest = divmod(step, devices * chunks)
    chunk, place = divmod(rest, devices)
    return ("F", chunk * devices + device, whole * devices + place)


def backward(step: int, device: int, devices: int, chunks: int) -> Pass:
    """The so-many-th backward pass: chunks in reverse."""
    _, stage, batch = forward(step, device, devices, chunks)
    return ("B", (chunks - 1 - stage // devices) * devices + device, batch)


def in_a_v(devices: int, rounds: int) -> Orders:
    """ZB-V: two chunks a device, the second on the way back (2401.10241, section 6; for at least 2 p - 1 rounds)."""
    orders: Orders = []
    for d in range(devices):
        down, back, order = d, 2 * devices - 1 - d, []
        count = {"F": {down: 0, back: 0}, "B": {down: 0, back: 0}, "W": {down: 0, back: 0}}

        def run(kind: str, stage: int, order: list[Pass] = order, count: dict[str, dict[int, int]] = count) -> None:
            order.append((kind, stage, count[kind][stage]))
            count[kind][stage] += 1

        for _ in range(2 * (devices - d) - 1):
            run("F", down)
        for _ in range(d):
            run("F", back)
            run("F", down)
        for _ in range(devices - d):
            for kind in "FBW":
                run(kind, back)
        while count["F"][back] < rounds:
            if count["F"][down] < rounds:
                run("F", down)
            for kind, stage in (("B", down), ("W", down), ("F", back), ("B", back), ("W", back)):
                run(kind, stage)
        for _ in range(d):
            run("B", down)
            run("B", back)
        for _ in range(devices - d):
            run("B", down)
            run("W", down)
        for stage in (back, down):
            while count["W"][stage] < rounds:
                run("W", stage)
        orders.append(order)
    return orders


def idle_s(orders: Orders, seconds: dict[str, float]) -> float:
    """Seconds from the first pass to the last, less those that the busiest device computes."""
    stages = 1 + max(stage for order in orders for _, stage, _ in order)
    done: dict[Pass, float] = {}
    free, place = [0.0] * len(orders), [0] * len(orders)
    while any(place[d] < len(order) for d, order in enumerate(orders)):
        before = sum(place)
        for d, order in enumerate(orders):
            while place[d] < len(order) and all(one in done for one in needs(order[place[d]], stages)):
                one = order[place[d]]
                begin = max([free[d], *(done[other] for other in needs(one, stages))])
                free[d] = done[one] = begin + seconds[one[0]]
                place[d] += 1
        if sum(place) == before:
            raise RuntimeError("devices wait for each other")
    return max(free) - max(sum(seconds[kind] for kind, _, _ in order) for order in orders)


def needs(one: Pass, stages: int) -> list[Pass]:
    """What a pass waits for."""
    kind, stage, batch = one
    if kind == "F":
        return [("F", stage - 1, batch)] if stage else []
    if kind == "W":
        return [("B", stage, batch)]
    return [("F", stage, batch), *([("B", stage + 1, batch)] if stage + 1 < stages else [])]


def most_held(order: list[Pass]) -> int:
    """Microbatches of a chunk that a device holds at its fullest, until the last pass that reads them."""
    last = "W" if any(kind == "W" for kind, _, _ in order) else "B"
    held = most = 0
    for kind, _, _ in order:
        held += (kind == "F") - (kind == last)
        most = max(most, held)
    return most
