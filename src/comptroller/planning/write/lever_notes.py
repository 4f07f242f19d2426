"""What a reader of a plan has to know of the levers that its deployments use, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.planning.prove.services import ModelServices


def lever_notes(own: ModelServices) -> Iterator[str]:
    """The levers of the deployments of one model."""
    for service, deployment in zip(own.services, own.deployments, strict=True):
        if deployment.pools is not None:
            tokens = sum(part.input_tokens * part.rate_per_s * part.share for part in service.slices)
            mean = tokens / max(service.rate_per_s, 1e-12)
            moved_s = mean * deployment.pools.token_s
            yield (
                f"{service.id}: prefill and decode run apart ({deployment.pools.ratio}), a line of launch for each; it "
                f"needs a router that sends a request to one of both, and a network between them: the cache of a mean "
                f"prompt of {mean:,.0f} tokens takes {moved_s * 1e3:.3g} ms at the datasheet's rate, which nobody "
                "measured here"
            )
