"""Every site's prices are dated and sourced; of the latest of a day, those that no other undercuts are offered."""

import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import FactError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.reader import folder, ids
from comptroller.facts.site import EVERYBODY, AcceleratorOffer, ProviderKind, SellerAllowlist, Site, Term, site
from comptroller.quantities import HOUR_S, KWH_J

H100 = accelerator("h100_sxm")
EXPECTED = {"us_neocloud", "aws_us_east", "gcp_us_central", "azure_us_east", "eu_north", "own_us"}
FIRST, LAST = date(2018, 1, 1), date(2026, 12, 31)
RENTED = {"on_demand", "spot", "reserved"}
every = pytest.mark.parametrize("name", ids("sites"))


def offer(
    usd_per_h: float, since: date, provider: str = "A", term: Term = "on_demand", instance: str = ""
) -> AcceleratorOffer:
    return AcceleratorOffer(
        accelerator="h100_sxm",
        term=term,
        usd_per_s=usd_per_h / HOUR_S,
        since=since,
        provider=provider,
        instance=instance,
    )


def place(*offers: AcceleratorOffer) -> Site:
    return Site(
        id="here",
        name="Here",
        electricity_usd_per_j=0.1 / KWH_J,
        grid_gco2e_per_j=100 / KWH_J,
        pue=1.2,
        sources={},
        provenance={},
        offers=offers,
    )


def test_the_folder_holds_every_expected_site() -> None:
    assert set(ids("sites")) >= EXPECTED


def cheapest(here: Site, device: str, on: date | None = None) -> AcceleratorOffer:
    """The cheapest on-demand offer of one device in force on a day."""
    return here.offers_for(accelerator(device), "on_demand", 1, on)[0]


@every
def test_every_number_has_a_dated_public_source(name: str) -> None:
    here = site(name)
    wanted = {"electricity_usd_per_j", "grid_gco2e_per_j", "pue"}
    wanted |= {f"offers.{index}.usd_per_s" for index in range(len(here.offers))}
    assert set(here.provenance) == wanted
    assert set(here.provenance.values()) == set(here.sources)
    for source in here.sources.values():
        assert re.match(r"https?://[\w.-]+/\S+$", source.url)
        assert FIRST <= source.date <= LAST


@every
def test_a_price_is_not_dated_after_its_source(name: str) -> None:
    here = site(name)
    for index, entry in enumerate(here.offers):
        source = here.sources[here.provenance[f"offers.{index}.usd_per_s"]]
        assert FIRST <= entry.since <= source.date, f"offer {index} of {entry.accelerator}"


@every
def test_a_site_is_plausible(name: str) -> None:
    here = site(name)
    assert re.fullmatch("[A-Z]{2}", here.country)
    assert 0.03 <= here.electricity_usd_per_j * KWH_J <= 0.5
    assert 5 <= here.grid_gco2e_per_j * KWH_J <= 900
    assert 1 <= here.pue <= 2
    assert here.offers
    for entry in here.offers:
        accelerator(entry.accelerator)
        assert 0.01 <= entry.usd_per_s * HOUR_S <= 25
        assert entry.devices <= 2 * accelerator(entry.accelerator).node_devices
        assert entry.term in RENTED or name in {"own_us", "what_if"}


@every
def test_no_two_prices_of_one_offer_share_a_day(name: str) -> None:
    keys = [(o.accelerator, o.term, o.provider, o.instance, o.since) for o in site(name).offers]
    assert len(keys) == len(set(keys))


@every
def test_spot_costs_less_than_on_demand_of_the_same_seller_and_day(name: str) -> None:
    offers = site(name).offers
    listed = {(o.accelerator, o.provider, o.instance, o.since): o for o in offers if o.term == "on_demand"}
    for entry in offers:
        other = listed.get((entry.accelerator, entry.provider, entry.instance, entry.since))
        if entry.term in {"spot", "reserved"} and other:
            assert entry.usd_per_s <= other.usd_per_s


def test_prices_cover_the_catalogue_and_keep_their_history() -> None:
    offers = [(name, entry) for name in ids("sites") for entry in site(name).offers]
    assert len({entry.accelerator for _, entry in offers}) >= 20
    days: dict[tuple[str, str, str, str, str], set[date]] = {}
    for name, o in offers:
        days.setdefault((name, o.accelerator, o.term, o.provider, o.instance), set()).add(o.since)
    assert sum(len(seen) > 1 for seen in days.values()) >= 10


def test_an_earlier_day_has_its_earlier_price() -> None:
    finland = site("eu_north")
    august = cheapest(finland, "h200_sxm", date(2026, 9, 1))
    october = cheapest(finland, "b200_sxm", date(2026, 10, 2))
    assert august.usd_per_s * HOUR_S == pytest.approx(4.00)
    assert october.usd_per_s * HOUR_S == pytest.approx(6.9175)


def test_owned_hardware_is_amortised_over_three_years() -> None:
    (share_of_a_server,) = site("own_us").offers_for(accelerator("a100_80_sxm"), "owned", 1)
    assert share_of_a_server.usd_per_s * 3 * 365 * 24 * HOUR_S == pytest.approx(18548.75, rel=1e-5)


def test_an_unknown_price_is_never_zero(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"us_neocloud has no on_demand offer for ascend_910c; it has .*h100_sxm"
    ):
        site("us_neocloud").offer_for_fleet(accelerator("ascend_910c"), "on_demand", (1, 1))
    with pytest.raises(UnsupportedError, match="has no owned offer"):
        site("us_neocloud").offer_for_fleet(H100, "owned", (1, 1))
    text = (folder("sites") / "own_us.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(re.sub(r"usd_per_s = \{ value = [\d.]+", "usd_per_s = { value = 0", text, count=1))
    with pytest.raises(FactError, match=r"mine\.toml:\d+: offers\.0\.usd_per_s: .*greater than 0"):
        site(str(mine))


def test_before_the_first_price_there_is_none() -> None:
    assert not site("us_neocloud").offers_for(H100, "on_demand", 1, date(2020, 1, 1))


def test_a_later_price_succeeds_only_its_own_seller_s() -> None:
    old, new = offer(2.0, date(2026, 1, 1)), offer(3.0, date(2026, 2, 1))
    other = offer(2.5, date(2025, 6, 1), provider="B")
    assert cheapest(place(new, old, other), "h100_sxm") == other
    assert cheapest(place(new, old), "h100_sxm") == new
    assert cheapest(place(new, old), "h100_sxm", date(2026, 1, 31)) == old


def test_instances_of_one_seller_are_offers_of_their_own() -> None:
    small, large = offer(3.0, date(2026, 2, 1), instance="1x"), offer(2.0, date(2026, 1, 1), instance="8x")
    assert cheapest(place(small, large), "h100_sxm") == large


def test_seller_and_instance_are_not_confused_by_their_spelling() -> None:
    ab, a_b = offer(2.0, date(2026, 1, 1), "ab", instance=""), offer(3.0, date(2026, 2, 1), "a", instance="b")
    assert cheapest(place(ab, a_b), "h100_sxm") == ab


DAYS = st.integers(0, 400).map(lambda n: date(2025, 9, 1) + timedelta(days=n))
OFFERS = st.lists(st.builds(offer, st.floats(0.1, 20), DAYS, st.sampled_from("ABC")), min_size=1, max_size=12)


@given(OFFERS, DAYS)
def test_the_price_in_force_is_among_the_latest_and_the_cheapest_of_them(
    offers: list[AcceleratorOffer], day: date
) -> None:
    known = [entry for entry in offers if entry.since <= day]
    if not known:
        assert not place(*offers).offers_for(H100, "on_demand", 1, day)
        return
    chosen = cheapest(place(*offers), "h100_sxm", day)
    assert chosen in known
    assert all(entry.since <= chosen.since for entry in known if entry.provider == chosen.provider)
    for seller in {entry.provider for entry in known}:
        latest = max(entry.since for entry in known if entry.provider == seller)
        rates = [e.usd_per_s for e in known if e.provider == seller and e.since == latest]
        assert chosen.usd_per_s <= max(rates)


def test_an_offer_in_units_stands_beside_one_in_packs() -> None:
    pack, single = offer(2.0, date(2026, 1, 1), instance="8x"), offer(2.5, date(2026, 1, 1), "B")
    pack = replace(pack, devices=8)
    assert place(pack, single).offers_for(H100, "on_demand", 1) == (pack, single)
    assert place(pack, replace(single, usd_per_s=pack.usd_per_s)).offers_for(H100, "on_demand", 1) == (
        replace(single, usd_per_s=pack.usd_per_s),
    )


def test_an_instance_of_one_device_holds_no_replica_of_two() -> None:
    single, whole = offer(2.0, date(2026, 1, 1), instance="1x"), offer(3.0, date(2026, 1, 1), instance="8x")
    whole = replace(whole, devices=8)
    assert place(single, whole).offers_for(H100, "on_demand", 1) == (single,)
    for devices in (2, 8, 16):
        assert place(single, whole).offers_for(H100, "on_demand", devices) == (whole,)
    assert site("aws_us_east").offers_for(H100, "on_demand", 1)[0].instance == "p5.4xlarge"
    assert site("aws_us_east").offers_for(H100, "on_demand", 8)[0].instance == "p5.48xlarge"


@every
def test_every_provider_has_a_kind(name: str) -> None:
    here = site(name)
    assert set(here.kinds) == set(here.providers)
    assert all(here.kind_of(provider) != "own" for provider in here.providers) == (name not in {"own_us", "what_if"})


def test_marketplaces_are_left_out_unless_they_are_asked_for() -> None:
    here = site("us_neocloud")
    companies = here.offers_for(H100, "on_demand", 1)
    assert {here.kind_of(item.provider) for item in companies} == {"neocloud"}
    assert here.offers_for(H100, "on_demand", 1, sellers=EVERYBODY)[0].usd_per_s < companies[0].usd_per_s
    vast = here.offers_for(H100, "on_demand", 1, sellers=SellerAllowlist(("Vast.ai",)))
    assert [item.provider for item in vast] == ["Vast.ai"]
    clouds = here.offers_for(H100, "on_demand", 1, sellers=SellerAllowlist(kinds=("cloud",)))
    assert {item.provider for item in clouds} == {"DigitalOcean"}


def test_a_listing_is_one_device_of_one_host() -> None:
    here = site("us_neocloud")
    listings = [item for item in here.offers if item.provider == "Vast.ai"]
    assert listings and all(item.available == 1 and item.devices == 1 for item in listings)
    for devices in (2, 8):
        found = here.offers_for(H100, "on_demand", devices, sellers=EVERYBODY)
        assert "Vast.ai" not in {item.provider for item in found}


def test_a_kind_of_nobody_is_an_error(tmp_path: Path) -> None:
    text = (
        (folder("sites") / "own_us.toml").read_text(encoding="utf-8").replace('"purchase" = "own"', '"Nobody" = "own"')
    )
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('"purchase" = "own"', '"Nobody" = "own"'))
    with pytest.raises(FactError, match=r"kinds: 'Nobody' offers nothing here; providers: purchase"):
        site(str(mine))


def test_a_provider_without_a_kind_is_the_user_s_own() -> None:
    assert place(offer(2.0, date(2026, 1, 1))).offers_for(H100, "on_demand", 1)
    assert not place(offer(2.0, date(2026, 1, 1))).offers_for(
        H100, "on_demand", 1, sellers=SellerAllowlist(kinds=("cloud", "neocloud"))
    )


def test_an_offer_of_few_devices_undercuts_no_other() -> None:
    few, many = replace(offer(1.0, date(2026, 1, 1)), available=2), offer(2.0, date(2026, 1, 1), "B")
    assert place(few, many).offers_for(H100, "on_demand", 1) == (few, many)
    assert place(few, many).offers_for(H100, "on_demand", 4) == (many,)
    dear = replace(few, provider="C", usd_per_s=many.usd_per_s)
    assert place(dear, many).offers_for(H100, "on_demand", 1) == (many,)


def test_a_fleet_is_priced_with_all_that_comes_together() -> None:
    pack = replace(offer(2.0, date(2026, 1, 1), instance="8x"), devices=8)
    single = offer(3.0, date(2026, 1, 1), "B")
    few = replace(offer(1.0, date(2026, 1, 1), "C"), available=2)
    here = place(pack, single, few)
    assert here.offer_for_fleet(H100, "on_demand", (2, 1)) == few
    assert here.offer_for_fleet(H100, "on_demand", (3, 1)) == single
    assert here.offer_for_fleet(H100, "on_demand", (3, 2)) == pack


SELLERS: dict[str, ProviderKind] = {"A": "cloud", "B": "neocloud", "C": "marketplace"}
SOLD = st.lists(
    st.builds(
        lambda usd, seller, pack, few: replace(
            offer(usd, date(2026, 1, 1), seller, instance=f"{pack}x"), devices=pack, available=few
        ),
        st.sampled_from([1.0, 1.5, 2.0, 3.0]),
        st.sampled_from(sorted(SELLERS)),
        st.sampled_from([1, 2, 8]),
        st.sampled_from([None, None, 1, 2, 8]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda item: (item.provider, item.instance),
)


@given(SOLD, st.sampled_from([1, 2, 8]))
def test_what_is_left_out_is_undercut_in_every_attribute(offers: list[AcceleratorOffer], devices: int) -> None:
    here = place(*offers)
    kept = here.offers_for(H100, "on_demand", devices)
    usable = [item for item in offers if item.joins(devices, H100.node_devices) and item.has(devices)]
    assert set(kept) <= set(usable)
    for gone in set(usable) - set(kept):
        assert any(
            item.usd_per_s <= gone.usd_per_s and item.devices <= gone.devices and item.available is None
            for item in kept
        )
    for one in kept:
        for other in kept:
            if one != other and one.available is None:
                assert one.usd_per_s > other.usd_per_s or one.devices > other.devices
