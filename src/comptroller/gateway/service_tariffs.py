"""How each service is paid for: its own price, else what the plan says, else the electricity of its joules."""

from __future__ import annotations

from comptroller.facts.prices import PriceBook
from comptroller.facts.site import site
from comptroller.gateway.config import ConfiguredTokenPrice
from comptroller.gateway.service import UpstreamService
from comptroller.gateway.tariff import ElectricityTariff, PerTokenTariff, ServiceTariff, UnpricedTariff, fixed_price


def service_tariff(
    service: UpstreamService, book: PriceBook, planned: ServiceTariff | None, site_id: str
) -> ServiceTariff:
    """The tariff of a service. planned: what the plan says that it costs, where it speaks of it."""
    config = service.config
    if isinstance(config.price, ConfiguredTokenPrice):
        return PerTokenTariff(fixed_price(service.id, config.price), book, config.tier)
    if config.price is not None:
        return PerTokenTariff(config.price, book, config.tier)
    if planned is not None:
        return planned
    worst_j = getattr(service.replicas[0].backend, "worst_j", None)
    if worst_j is not None:
        return ElectricityTariff(site(site_id), worst_j)
    return UnpricedTariff(
        f'service {service.id} has no price: set price = "provider/model" or dollars per million tokens'
    )
