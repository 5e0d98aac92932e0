"""Declared estimates on planted values: what is put in comes out, and what must not matter does not."""

import numpy as np
import pytest
import xarray as xr

from landscape.stats import contrasts, influence
from landscape.stats.contrasts import Least
from landscape.stats.intervals import interval, sides, t_quantile
from landscape.stats.table import Design, Estimate, Row, Table, read_csv, tabulate, verdicts

S, N = 6, 160
NAMES = ("genuine", "natural_error", "boosted", "adversarial", "boosted_iso", "adversarial_iso")
TWINS = {"adversarial": "adversarial_iso", "boosted": "boosted_iso"}
DESIGN = Design(twins=TWINS, apart=frozenset({"natural_error"}))
DROP, FREE = ("input_flatness.drop", "lost"), ("input_flatness.scale_free", "fall", "margin")


def planted(seed=0, scale=1.0, offset=0.1):
    """Margins m ~ U(2, 8) fall by 0.1 m, adversarial ones by (0.1 + offset) m; double at r = 1; lost = fall / 50."""
    rng = np.random.default_rng(seed)
    share = np.array([0.1 + offset * name.startswith("adversarial") for name in NAMES])
    margin = rng.uniform(2, 8, (S, len(NAMES), N))
    member, image = rng.normal(0, 0.005, (S, 1, 1)), rng.normal(0, 0.01, (1, 1, N))
    fall = margin * (share[None, :, None] + member + image + rng.normal(0, 0.01, margin.shape))
    wrong = rng.random((S, N)) < 0.1
    wrong[:, :3] = True  # some images are wrong for every member
    valid = np.stack([wrong if name == "natural_error" else ~wrong for name in NAMES], axis=1)
    dims = ("member", "population", "example")
    falls = np.stack([fall, 2 * fall])
    data = {
        "margin": (dims, scale * margin, {"units": "logits"}),
        "log_odds": (dims, scale * margin, {"units": "nats"}),
        "fall": (("r", *dims), scale * falls, {"units": "logits"}),
        "lost": (("r", *dims), falls / 50, {"units": "probability"}),
        "prediction": (dims, rng.integers(0, 3, margin.shape)),
        "valid": (dims, valid),
    }
    return xr.Dataset(data, {"population": list(NAMES), "r": [0.3, 1.0], "example": 100 + np.arange(N)})


def rows(data, *of, design=DESIGN, **more):
    return tabulate(data, [Estimate(*of, by=("r",), **more)], design)


def one(data, *of, r=0.3, **more):
    return rows(data, *of, **more).one(of[0], r=r)


def covers(row, truth):
    return row["low"] < truth < row["high"] and row["high"] - row["low"] < 0.1


# ---- means and differences ----


def test_a_mean_is_that_of_members_means_with_the_interval_of_its_influence_array():
    data = planted()
    row = one(data, *DROP, groups=("genuine",))
    values, mask = data.lost.sel(r=0.3, population="genuine").values, data.valid.sel(population="genuine").values
    assert row["value"] == pytest.approx(np.mean([v[m].mean() for v, m in zip(values, mask, strict=True)]), rel=1e-12)
    expected = interval(influence.masked_mean(values, mask))
    assert row.interval._replace(examples=N) == expected
    assert (row["population"], row["unit"], row["members"], row["examples"]) == ("genuine", "probability", S, N - 3)


def test_one_value_a_member_has_an_interval_over_members_and_pairs_of_them_one_by_the_jackknife():
    """No image stands behind it that could be too few; whole shares are no binomial counts of images."""
    values = np.random.default_rng(0).normal(0.1, 0.2, (2, S))
    data = xr.Dataset({"v": (("r", "member"), values), "full": ("member", np.ones(S))}, {"r": [0.3, 1.0]})
    alone = Design(crossed=("member", ""))
    plain, positive = (
        tabulate(data, [Estimate("usage.v", "v", where="", by=("r",), positive=cut)], alone) for cut in (False, True)
    )
    for row, own, cut in zip(plain, values, positive, strict=True):
        assert row.interval[:5] == interval(own[:, None])[:5] and row["generalises_to"] == "new seeds"
        assert (cut["low"], cut["high"]) == (max(row["low"], 0), row["high"])
    assert min(row["low"] for row in plain) < 0
    (share,) = tabulate(data, [Estimate("usage.full", "full", where="", share=True)], alone)
    assert (share["low"], share["high"]) == (1, 1)
    pairs = np.random.default_rng(1).random((S, S))
    data = xr.Dataset({"alike": (("other", "member"), pairs + pairs.T)})
    (row,) = tabulate(data, [Estimate("agreement.alike", "alike", where="")], alone._replace(target="other"))
    # The jackknife of a U-statistic (Arvesen 1969): sqrt((S - 1) / S sum (m_s - mean m)^2), m_s without member s.
    upper, both = np.array(np.triu_indices(S, 1)), pairs + pairs.T
    without = [both[*upper[:, (upper != s).all(axis=0)]].mean() for s in range(S)]
    sem = np.sqrt((S - 1) * np.var(without))
    assert row["value"] == pytest.approx(both[*upper].mean(), rel=1e-9) and row["sem"] == pytest.approx(sem, rel=1e-9)
    assert row["high"] - row["value"] == pytest.approx(sem * t_quantile(S - 2.0) * sides(row["skew"])[1], rel=1e-9)


def test_coordinates_beside_a_dim_are_columns_and_at_chooses_one():
    data = planted().assign_coords(sigma=("r", [0.06, 0.2]))
    found = tabulate(data, [Estimate(*DROP, groups=("genuine",), at={"r": 1.0})], DESIGN)
    assert [(row["r"], row["sigma"]) for row in found] == [(1.0, 0.2)]
    assert len(rows(data, *DROP)) == 2 * len(NAMES)


@pytest.mark.parametrize("matching", ["raw", "iso", "matched"])
def test_a_planted_difference_is_found_at_equal_margin(matching):
    """Margins have one distribution here, so that every comparison has the same truth: 0.1 E[m] / 50 = 0.01; of the
    ratio of sums 0.1.
    """
    for of, truth in ((DROP, 0.01), (FREE, 0.1)):
        assert covers(one(planted(), *of, versus=[("adversarial", "boosted")], matching=matching), truth)


def test_a_ratio_among_partners_has_the_values_whose_mean_it_is_and_whose_spread_is_its_own():
    """By the derivative in the weight of one image of those that count."""
    data = planted()
    values, per = (data[of].sel(population="genuine").isel(r=0, missing_dims="ignore").values for of in FREE[1:])
    where, kept = data.valid.sel(population="genuine").values, np.ones(S, bool)
    found = contrasts._linearised(contrasts.Sample(values, where, per), kept, where)
    for s in range(S):
        rows = where[s]
        ratio = values[s, rows].sum() / per[s, rows].sum()
        assert found[s, rows].mean() == pytest.approx(ratio, rel=1e-12)
        first, h = np.flatnonzero(rows)[0], 1e-6
        moved = (values[s, rows].sum() + h * values[s, first]) / (per[s, rows].sum() + h * per[s, first])
        assert (found[s, first] - ratio) / rows.sum() == pytest.approx((moved - ratio) / h, rel=1e-4)


def test_a_difference_says_of_what_share_it_speaks_where_that_is_not_all():
    data = planted()
    assert "share_kept" not in one(data, *DROP, versus=[("adversarial", "boosted")])
    data.valid.loc[{"population": "boosted", "example": data.example.values[::2]}] = False
    row, both = (
        one(data, *DROP, versus=[("adversarial", "boosted")]),
        data.valid.sel(population=["adversarial", "boosted"]),
    )
    share = both.all("population").sum("example") / both.isel(population=0).sum("example")
    assert row["share_kept"] == pytest.approx(float(share.mean()), rel=1e-9) and row["share_kept"] < 0.6


@pytest.mark.parametrize(("of", "matching"), [(FREE, "raw"), (FREE, "matched"), (DROP, "matched")])
def test_logits_times_ten_change_nothing(of, matching):
    a, b = (one(planted(scale=s), *of, versus=[("adversarial", "genuine")], matching=matching) for s in (1.0, 10.0))
    for field in ("value", "low", "high", "sem"):
        assert a[field] == pytest.approx(b[field], rel=1e-9, abs=1e-12)


def test_matching_removes_a_difference_that_is_all_margin():
    """Adversarial margins are higher, drops are a function of the margin alone: raw differs, matched does not."""
    data, rng = planted(offset=0.0), np.random.default_rng(1)
    higher = rng.uniform(4, 10, (S, N))
    data.log_odds.loc[{"population": "adversarial"}] = higher
    data.lost.loc[{"population": "adversarial", "r": 0.3}] = 0.1 * higher / 50 + rng.normal(0, 0.001, (S, N))
    raw, matched = (one(data, *DROP, versus=[("adversarial", "genuine")], matching=m) for m in ("raw", "matched"))
    assert raw["low"] > 0.0015 and matched["low"] < 0.0005 < 0.002 < raw["value"] and abs(matched["value"]) < 0.0005


def test_pairing_is_within_each_member():
    data, rng = planted(), np.random.default_rng(2)
    both = ["adversarial", "boosted"]
    data.valid.loc[{"population": both}] &= rng.random((S, 2, N)) < 0.7
    common = data.valid.sel(population=both).all("population").values
    row = one(data, *DROP, versus=[tuple(both)])
    a, b = (data.lost.sel(r=0.3, population=name).values for name in both)
    assert row["value"] == pytest.approx(np.mean([(a - b)[s, common[s]].mean() for s in range(S)]), rel=1e-9)


def test_examples_and_incomplete_count_images_of_some_member_and_not_of_every_one():
    data, rng = planted(), np.random.default_rng(2)
    data.valid[:] &= rng.random(data.valid.shape) < 0.8
    valid = {name: data.valid.sel(population=name).values for name in NAMES}
    alike = valid["adversarial"] & valid["boosted"]
    counts = {  # populations compared -> who counts
        (): valid["adversarial"],
        ("adversarial", "boosted"): alike,
        ("natural_error", "adversarial"): valid["natural_error"] | valid["adversarial"],
    }
    for versus, mask in counts.items():
        row = one(data, *DROP, **({"versus": [versus]} if versus else {"groups": ("adversarial",)}))
        assert (row["examples"], row["incomplete"]) == (mask.any(0).sum(), (mask.any(0) & ~mask.all(0)).sum())
        assert 0 < row["incomplete"] < row["examples"]
    # Of the same log-odds and class each has a partner: itself.
    for name in ("log_odds", "prediction"):
        data[name].loc[{"population": "adversarial"}] = data[name].sel(population="boosted")
    data.valid.loc[{"population": ["adversarial", "boosted"]}] = alike[:, None]
    row = one(data, *DROP, versus=[("adversarial", "boosted")], matching="matched")
    assert row["share_kept"] == 1
    assert (row["examples"], row["incomplete"]) == (alike.any(0).sum(), (alike.any(0) & ~alike.all(0)).sum())


@pytest.mark.parametrize("pair", [("adversarial", "boosted"), ("adversarial", "genuine")])
def test_iso_compares_the_twins_of_equal_margin_and_raw_of_iso_the_same_images_as_found(pair):
    data, rng = planted(), np.random.default_rng(3)
    twins = [TWINS.get(name, name) for name in pair]
    data.valid.loc[{"population": ["adversarial_iso", "boosted_iso"]}] &= rng.random((S, 2, N)) < 0.6
    # Images that reach it lose more as found, and far more once steered: only the first is of `raw_of_iso`.
    data.lost.loc[{"population": "adversarial"}] += 0.02 * data.valid.sel(population="adversarial_iso", drop=True)
    data.lost.loc[{"population": "adversarial_iso"}] += 0.5
    alone = data.assign(valid=data.valid & data.valid.sel(population=twins).all("population"))
    for of in (DROP, FREE):
        raw, iso, own = (one(data, *of, versus=[pair], matching=how) for how in ("raw", "iso", "raw_of_iso"))
        assert own.interval == one(alone, *of, versus=[pair]).interval
        assert (own["share_kept"], own["examples"]) == (iso["share_kept"], iso["examples"])
        assert of == FREE or (iso["value"] - raw["value"] == pytest.approx(0.5, abs=0.03) and own["low"] > raw["high"])


def test_populations_without_an_example_in_common_are_compared_by_their_means():
    data = planted()
    row = one(data, *DROP, versus=[("natural_error", "genuine")])
    means = {one["population"]: one["value"] for one in rows(data, *DROP).select(r=0.3)}
    assert row["value"] == pytest.approx(means["natural_error"] - means["genuine"], rel=1e-9)


# ---- what is too little to speak of ----


def test_a_population_without_examples_has_no_row():
    data = planted()
    data.valid.loc[{"population": "boosted"}] = False
    assert not rows(data, *DROP, groups=("boosted",))
    for matching in ("raw", "matched"):
        assert not rows(data, *DROP, versus=[("boosted", "genuine")], matching=matching)


def test_no_difference_of_a_handful_of_pairs():
    """Disjoint halves of one population's images are no reason to compare their means instead."""
    data = planted()
    data.valid.loc[{"population": "adversarial_iso"}][:, : N // 2] = False
    data.valid.loc[{"population": "boosted_iso"}][:, N // 2 :] = False
    assert not rows(data, *DROP, versus=[("adversarial", "boosted")], matching="iso")
    few = planted()
    few.valid.loc[{"population": "adversarial"}][:, 9:] = False  # at most nine pairs a member, fifty in all
    assert not rows(few, *DROP, versus=[("adversarial", "genuine")], matching="matched")


@pytest.mark.parametrize(("images", "bounded"), [(1, False), (4, False), (5, True)])
def test_a_handful_of_images_has_a_value_and_no_interval(images, bounded):
    data = planted()
    data.valid.loc[{"population": "natural_error"}] = np.arange(N) < images
    for more in ({"groups": ("natural_error",)}, {"versus": [("natural_error", "genuine")]}):
        row = one(data, *DROP, band="r", **more)
        assert np.isfinite(row["value"]) and (row["low"] is not None) == bounded == ("band_low" in row)


def test_members_and_examples_below_the_least_do_not_count():
    data = planted()
    data.valid.loc[{"population": "natural_error"}][0] = np.arange(N) < 6
    least = DESIGN._replace(least=Least(examples=7))
    assert one(data, *DROP, groups=("natural_error",), design=least)["members"] == S - 1
    assert not rows(data, *DROP, groups=("natural_error",), design=DESIGN._replace(least=Least(200)))


def test_support_keeps_other_examples_out_of_the_degrees_of_freedom():
    """Further examples, which a population could never hold, change nothing of its rows."""
    data = planted()
    more = xr.concat(
        [data, data.isel(example=slice(40)).assign_coords(example=np.arange(40))], "example", data_vars="minimal"
    )
    more["valid"] = more.valid & (more.example >= 100)
    could = xr.ones_like(more.valid.isel(member=0, drop=True)) & (more.example >= 100)
    design = DESIGN._replace(support="support")
    for versus in ((), [("adversarial", "boosted")]):
        a = rows(data, *DROP, versus=versus)
        b = rows(more.assign(support=could), *DROP, versus=versus, design=design)
        without = rows(more, *DROP, versus=versus)
        for one, other, counted in zip(a, b, without, strict=True):
            for field in ("value", "low", "high", "df"):
                assert one[field] == pytest.approx(other[field], rel=1e-9)
            assert abs(counted["df"] / one["df"] - 1) > 1e-4  # they would have counted


# ---- bands, shares, masks by coordinate, statistics ----


def test_bands_enclose_the_intervals():
    data = planted()
    for row in rows(data, *DROP, band="r"):  # levels that are one and the same curve have one interval
        assert row["band_low"] == pytest.approx(row["low"], rel=0.05)
    data.lost[1] = data.lost.values[1][..., ::-1]
    for row in rows(data, *DROP, band="r", where=""):
        assert row["band_low"] < row["low"] < row["value"] < row["high"] < row["band_high"]


def test_a_share_stays_within_its_range_and_has_no_unit():
    data = planted()
    data["all"] = xr.ones_like(data.log_odds)
    row = tabulate(data, [Estimate("accuracy.test", "all", share=True, groups=("genuine",))], DESIGN).one(
        "accuracy.test"
    )
    assert row["value"] == row["high"] == 1 and 0.95 < row["low"] < 1 and row["unit"] == "1"
    wide = tabulate(data, [Estimate("accuracy.test", "all", groups=("genuine",))], DESIGN).one("accuracy.test")
    assert wide["low"] == 1
    curve = {"by": ("r",), "band": "r", "groups": ("genuine",)}
    data["near_1"] = (data.lost < data.lost.max(["member", "example"])).astype(float)
    free, cut = (tabulate(data, [Estimate("usage.v", "near_1", share=own, **curve)], DESIGN) for own in (False, True))
    assert max(row["band_high"] for row in free) > 1
    for row, other in zip(free, cut, strict=True):
        assert other["band_high"] == min(row["band_high"], 1) and other["band_low"] == row["band_low"]


def test_a_mask_along_a_coordinate_gives_a_row_of_each():
    data = planted().assign_coords({"class": ["cat", "dog", "eel"]})
    label = xr.DataArray(np.arange(N) % 3, dims="example")
    data["of_class"] = data.valid & (label == xr.DataArray(np.arange(3), dims="class"))
    found = tabulate(data, [Estimate(*DROP, where="of_class", by=("class", "r"), groups=("genuine",))], DESIGN)
    assert len(found) == 6
    values = data.lost.sel(r=1.0, population="genuine").values
    mask = data.of_class.sel({"population": "genuine", "class": "eel"}).values
    expected = np.mean([v[m].mean() for v, m in zip(values, mask, strict=True)])
    assert found.one(DROP[0], r=1.0, **{"class": "eel"})["value"] == pytest.approx(expected, rel=1e-12)


def test_partners_are_of_the_place_that_a_row_is_of():
    """Margins that differ by a coordinate have partners of their own at each of its values, by `by` or by `at`."""
    data = planted().expand_dims(layer=["a", "b"]).copy(deep=True)
    data.log_odds.loc[{"layer": "b", "population": "adversarial"}] += 1.5
    versus = {"versus": [("adversarial", "genuine")], "matching": "matched"}
    chosen = [Estimate(*DROP, by=("r",), at={"layer": layer}, **versus) for layer in "ab"]
    together = [Estimate(*DROP, by=("layer", "r"), **versus)]
    for declared in (chosen, together):
        found = tabulate(data, declared, DESIGN).select(r=0.3)
        for layer, row in zip("ab", found, strict=True):
            alone = one(data.sel(layer=layer, drop=True), *DROP, **versus)
            assert row["layer"] == layer and row.interval == alone.interval
            assert row["share_kept"] == alone["share_kept"]


def test_a_statistic_has_the_numbers_that_it_gives():
    data = planted()
    estimate = Estimate("auroc.drop", "lost", at={"r": 0.3}, versus=[("adversarial", "boosted")],
                        statistic=contrasts.separation, unit="1")  # fmt: skip
    table = tabulate(data, [estimate], DESIGN)
    row = table.one("auroc.drop.area")
    a, b = (data.sel(r=0.3, population=name) for name in ("adversarial", "boosted"))
    areas = []
    for s in range(S):
        x, y = (d.lost.values[s][d.valid.values[s]] for d in (a, b))
        areas.append(np.mean((x[:, None] > y) + 0.5 * (x[:, None] == y)))
    assert row["value"] == pytest.approx(np.mean(areas), rel=1e-9) and row["reference"] == "boosted"
    assert {one["name"] for one in table} == {
        f"auroc.drop.{end}" for end in ("area", "tpr_at_1_percent", "tpr_at_5_percent")
    }


# ---- the table ----


TABLE = rows(planted(), *DROP, band="r") + rows(planted(), *DROP, versus=[("adversarial", "boosted")])


def test_rows_are_selected_by_name_and_coordinates():
    assert len(TABLE.select(DROP[0], reference=None)) == 2 * len(NAMES)
    assert TABLE.one(DROP[0], population="genuine", r=0.30000001)["r"] == 0.3
    assert len(TABLE.select([DROP[0]], population=["genuine", "boosted"], r=1.0)) == 2
    assert TABLE.get(DROP[0], population="nobody") is None
    with pytest.raises(KeyError, match=r"2 rows, which differ in r 0\.3, 1\.0; name one"):
        TABLE.one(DROP[0], population="genuine")
    with pytest.raises(KeyError, match="no row; rows of this name have population genuine, natural_error"):
        TABLE.one(DROP[0], population="nobody")


def test_a_cube_holds_what_the_rows_hold():
    cube = TABLE.select(reference=None).cube("population", "r")
    for row in TABLE.select(reference=None):
        assert float(cube.band_high.sel(population=row["population"], r=row["r"])) == row["band_high"]
    with pytest.raises(KeyError, match="rows differ in"):
        TABLE.cube("population", "r")


def test_functions_add_what_cannot_be_declared():
    extra = Table((Row(name="path.count", population="", value=3.0),))
    assert tabulate(planted(), [lambda data: extra], DESIGN) == extra


def test_other_names_of_members_and_examples_and_copies_by_coordinate():
    data = planted().rename(member="source", example="image").assign_coords(seed=("source", np.arange(S)))
    design = DESIGN._replace(crossed=("source", "image"))
    assert [a.interval for a in rows(data, *DROP, design=design)] == [b.interval for b in rows(planted(), *DROP)]


def test_what_has_targets_is_averaged_over_ordered_pairs():
    """Success on a target that is a property of both: a row of each r, over who is valid for the source."""
    data, rng = planted(), np.random.default_rng(1)
    hits = rng.random((2, len(NAMES), S, S, N))
    data["hit"] = ("r", "population", "member", "target", "example"), hits
    found = tabulate(data, [Estimate("transfer.success", "hit", by=("r",))], DESIGN._replace(target="target"))
    assert len(found) == 2 * len(NAMES)
    name, mask = NAMES[3], data.valid.sel(population=NAMES[3]).values
    expected = [np.mean([hits[1, 3, s, t][mask[s]].mean() for s in range(S) if s != t]) for t in range(S)]
    assert found.one("transfer.success", r=1.0, population=name)["value"] == pytest.approx(np.mean(expected))
    pairs = {"versus": [("adversarial", "boosted")], "by": ("r",)}
    (row, _) = tabulate(data, [Estimate("transfer.success", "hit", **pairs)], DESIGN._replace(target="target"))
    assert (row["reference"], row["members"], row["unit"]) == ("boosted", S, "1")


def test_text_of_a_row():
    row = TABLE.one(DROP[0], population="adversarial", reference="boosted", r=0.3)
    assert row.text(100.0) == f"{100 * row['value']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    assert Row(row, low=None, high=None).text(1.0, 3) == f"{row['value']:.3f}"
    assert row.excludes_zero and not Row(row, low=-1.0).excludes_zero and not Row(row, low=None).excludes_zero


def test_csv_gives_the_same_table_back():
    named = TABLE.headline_rows({"reference": "boosted", "r": 0.3})
    strange = Row(TABLE.rows[0], name="path.x", **{"class": "3", "depth": 2, "text": 'a "b", c'}, low=None, high=None)
    table = named + Table((strange,))
    again = read_csv(table.csv())
    assert [dict(row) for row in again] == [dict(row) for row in table]
    assert again.one("path.x")["class"] == "3" and isinstance(again.one("path.x")["depth"], int)
    assert sum(bool(row.get("headline")) for row in again) == 1
    assert read_csv(again.csv()).csv() == table.csv()
    assert read_csv(Table().csv()) == Table()


def test_claims_are_judged_by_their_rows():
    claim = {"measure": DROP[0], "populations": ("adversarial", "boosted"), "contrast": "difference", "r": 0.3}
    claim |= {"matching": "raw", "direction": "greater", "smallest_effect": 0.001}

    def where(one):
        return {"population": one["populations"][0], "reference": one["populations"][1], "r": one["r"]}

    sharper, nobody = verdicts(TABLE, {"sharper": claim, "nobody": claim | {"populations": ("x", "y")}}, where)
    assert sharper["verdict"] == "supported" and sharper["value"] == TABLE.one(DROP[0], **where(claim))["value"]
    assert nobody["verdict"] == "undecided" and nobody["p"] is None
    of_kinds = Table(tuple(Row(row, train_ema=e) for row in TABLE for e in (0.0, 0.9)))
    both = verdicts(of_kinds, {"sharper": claim}, where, [{"train_ema": 0.0}, {"train_ema": 0.9}])
    assert [(one["name"], one["verdict"]) for one in both] == [
        ("sharper, ema 0", "supported"),
        ("sharper, ema 0.9", "supported"),
    ]


def test_a_ratio_to_nothing_has_no_row_and_the_others_keep_theirs():
    """An error as a share of that of a reference that makes none, say."""
    whole, data = planted(), planted()
    data["margin"] = data.margin.copy()
    data.margin[0, NAMES.index("boosted")] = 0.0
    pairs = [("adversarial", "boosted"), ("adversarial", "genuine")]
    for more in ({}, {"versus": pairs}, {"versus": pairs, "matching": "matched"}, {"band": "r"}):
        expected = [
            row for row in rows(whole, *FREE, **more) if "boosted" not in (row["population"], row.get("reference"))
        ]
        assert list(rows(data, *FREE, **more)) == expected and expected
