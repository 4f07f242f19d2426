"""Energy, carbon and FLOPs of calls to own hardware, predicted where there is no meter: labelled, with an interval."""

from __future__ import annotations

import numpy as np

from comptroller.costs.carbon import CallEnergy
from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.inference_units import ModelCostShape, attention_flops, parameter_flops
from comptroller.costs.memory import memory
from comptroller.costs.money import carbon_g, wall_j
from comptroller.costs.power import energy_interval_j, request_j
from comptroller.costs.prediction import ClosedLoopLoad, ReplicaPredictor
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steady import UniformRequests
from comptroller.facts.site import Site


def predicted_call_energy(replica: ModelReplica, load: ClosedLoopLoad, place: Site) -> list[CallEnergy]:
    """What calls of a closed loop of clients take at the meter of a site, one per point of the load.

    E = (E_device + P_host t) PUE by phase; grams by the site's yearly mean; the interval is the power model's 80 % on
    families it was not fitted on. FLOPs: 2 P (T_in + T_out) and attention.

    Raises:
        InsufficientMemoryError: the weights leave no room for a cache.
        UnsupportedFormatError: the accelerator cannot run the formats.
    """
    ready = replica_timer(replica, ReplicaPredictor.shipped().calibration)
    loop = closed_loop(ready, memory(replica), UniformRequests(load.input_tokens, load.output_tokens), load.clients)
    state, device = request_j(ready, loop.state), replica.device
    span_s = loop.state.request_s / loop.state.batch
    decode_s = np.minimum(loop.state.decode.total_s * np.maximum(load.output_tokens - 1, 0) / loop.state.batch, span_s)
    held = replica.layout.devices
    phases = [
        wall_j(joules, held * seconds, place.pue)
        for joules, seconds in ((state.prefill_j, span_s - decode_s), (state.decode_j, decode_s))
    ]
    low, high = energy_interval_j(np.asarray(phases[0] + phases[1]), device)
    shape = ModelCostShape.of(replica.model)
    flops = parameter_flops(shape.params, load.input_tokens + load.output_tokens)
    flops = flops + attention_flops(shape, load.input_tokens, load.output_tokens)
    grams = carbon_g(phases[0] + phases[1], place.grid_gco2e_per_j)
    columns = np.broadcast_arrays(*phases, low, high, grams, flops)
    points = zip(*(column.tolist() for column in columns), strict=True)
    return [CallEnergy(p, d, lo, hi, g, f, "predicted") for p, d, lo, hi, g, f in points]
