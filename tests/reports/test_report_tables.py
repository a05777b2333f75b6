"""The rows of the table, and the paper's beside them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from verydeep.evaluation.protocols import PROTOCOLS, TenCrop, Views
from verydeep.evaluation.results import Evaluation
from verydeep.reports.published import SEVEN_NETS, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7, counterpart
from verydeep.reports.sentences import evaluation_command, order
from verydeep.reports.tables import make_rows, markdown, table, title

MakeResult = Callable[..., Evaluation]


def test_published_tables_have_the_papers_rows():
    assert (len(TABLE_3), len(TABLE_4), len(TABLE_5), len(TABLE_6)) == (12, 10, 6, 4)
    for row in TABLE_3 + TABLE_4 + TABLE_5 + TABLE_6:
        assert row.top5_error < row.top1_error < 30
    assert [row.scales for row in TABLE_3 if row.network == "C"] == [(256,), (384,), (384,)]
    assert [row.scales for row in TABLE_4 if row.network == "D"] == [
        (224, 256, 288),
        (352, 384, 416),
        (256, 384, 512),
    ]


@pytest.mark.parametrize(
    ("network", "trained_scale", "num_scales", "views", "error"),
    [
        ("D", (36, 36), 1, "dense", 27.0),
        ("D", (384, 384), 1, "dense", 26.8),
        ("D", (112, 144), 1, "dense", 25.6),
        ("E", (256, 512), 3, "dense", 24.8),
        ("E", (256, 512), 3, "crops", 24.6),
        ("E", (112, 144), 3, "both", 24.4),
        ("D + E", (112, 144), 3, "both", 23.7),
        ("D + E", (256, 512), 3, "dense", 24.0),
        ("D + E", (256, 256), 3, "dense", None),
        (SEVEN_NETS, (256, 512), 3, "dense", 24.7),
        ("A", (256, 256), 3, "dense", None),
        ("D", (256, 256), 1, "crops", None),
        ("D", (256, 256), 1, "ten", None),
    ],
)
def test_counterpart_is_the_same_network_tested_the_same_way(network, trained_scale, num_scales, views, error):
    found = counterpart(network, trained_scale, num_scales, views)
    assert (found and found.top1_error) == error


def test_rows_say_what_the_paper_says(make_result: MakeResult):
    rows = make_rows([make_result(configuration="D", trained_scale=(256, 512), scales=(256, 384, 512), width=1)])
    assert rows[0].cells == ("D", "[256;512]", "256,384,512", "dense + mirror", "33.33", "0.00", "6")
    assert rows[0].published_cells == ("[256;512]", "256,384,512", "24.8", "7.5", "–")
    assert "Table 4" in title(rows)


def test_fused_networks_and_protocols_find_their_rows(make_result: MakeResult):
    options = {"trained_scale": (256, 512), "scales": (256, 384, 512)}
    one, other = (make_result(configuration=name, **options).facts.first for name in "DE")
    one, other = replace(one, model="D"), replace(other, model="E")
    result = make_result(configuration="D", **options)

    def published(*members):
        [row] = make_rows([replace(result, facts=replace(result.facts, members=members))])
        return row.published and (row.published.table, row.published.top1_error)

    assert published(one, other) == (6, 24.0)
    assert published(one, replace(one, views="crops")) == (5, 24.4)
    assert published(
        *(replace(member, views=views) for member in (one, other) for views in ("dense", "crops"))
    ) == (
        6,
        23.7,
    )
    assert published(replace(one, views="crops"), replace(other, views="crops")) == (6, 23.9)
    assert published(one, replace(other, trained_scale=(384, 384))) is None  # of two, the paper's are jittered
    assert published(one, replace(other, scales=(384,))) is None
    assert published(one, replace(other, views="crops")) is None  # the paper tests both networks alike
    assert published(replace(one, views="both"), *(replace(other, views=v) for v in ("crops", "dense"))) == (
        6,
        23.7,
    )
    assert published(one, replace(one, views="ten")) is None
    assert published(replace(one, views="crops")) == (5, 24.6)
    assert published(replace(one, views="crops", grid=3)) is None  # the paper has 50 crops a scale
    assert published(replace(one, views="crops", mirror=False)) is None


def test_a_fusion_of_tests_at_one_scale_each_is_a_test_at_several(make_result: MakeResult):
    result = make_result(configuration="D", trained_scale=(256, 256), scales=(256,))
    tests = tuple(replace(result.facts.first, scales=(scale,)) for scale in (224, 256, 288))
    fused = replace(result, facts=replace(result.facts, members=tests))
    single, several = make_rows([result]), make_rows([fused])
    assert (single[0].published.table, several[0].published.table) == (3, 4)
    assert "Table 3" in title(single)
    assert "Table 4" in title(several)


def test_the_command_of_an_ensemble_says_what_its_networks_share(make_result: MakeResult):
    result = make_result()
    one, other = result.facts.first, replace(result.facts.first, model="other", mirror=False, scales=(64,))
    assert one.mirror
    facts = replace(result.facts, members=(one, other), num_unreadable=3)
    told = evaluation_command(replace(result, facts=facts), Path("out.npz"))
    assert "mirror" not in told
    assert "--scales" not in told
    assert "--max-unreadable 3" in told
    alike = replace(facts, members=(replace(one, mirror=False), replace(other, scales=one.scales)))
    told = evaluation_command(replace(result, facts=alike), Path("out.npz"))
    assert "--scales 37 --no-mirror" in told


def test_an_error_that_is_always_0_is_not_printed(make_result: MakeResult):
    """Top-3 of three classes."""
    assert "top-1 error 33.33 %\nmost often wrong" in str(make_result())


def test_json_gives_what_members_share(make_result: MakeResult):
    result = make_result()
    one = result.facts.first
    facts = replace(result.facts, members=(one, replace(one, model="other", views="crops", scales=(64, 80))))
    for told in (replace(result, facts=facts).to_dict(), make_rows([replace(result, facts=facts)])[0].to_json()):
        assert (told["model"], told["views"], told["scales"]) == (None, None, None)
        assert (told["configuration"], told["mirror"]) == (one.configuration, one.mirror)


def test_another_grid_than_the_papers_is_said(make_result: MakeResult):
    result = make_result(configuration="D")
    crops = replace(result.facts.first, views="crops", grid=3)
    found = replace(result, facts=replace(result.facts, members=(crops,)))
    assert make_rows([found])[0].protocol == "multi-crop + mirror, 3x3 crops"
    assert "--grid 3" in evaluation_command(found, Path("out.npz"))
    dense = replace(result, facts=replace(result.facts, members=(replace(crops, views="dense"),)))
    assert make_rows([dense])[0].protocol == "dense + mirror"


def test_the_order_of_networks_is_compared_by_one_protocol(make_result: MakeResult):
    """Of D and E, the paper has the same errors at several Q; its fusions are of other networks."""

    def made(**errors: float):
        rows = []
        for name, error in errors.items():
            configuration, _, several = name.partition("_")
            scales = (256, 384, 512) if several else (384,)
            [row] = make_rows([make_result(configuration=configuration, trained_scale=(256, 512), scales=scales)])
            rows.append(replace(row, top1_error=error, num_images=10_000))
        return order(rows)

    assert made(D=20) == ""
    assert made(D=20, E_several=19) == ""
    assert made(C=22, D=20, E=19).endswith("the order of the networks is the paper's: E, D and C.")
    assert made(D_several=19, E_several=20).endswith("the paper's: D and E.")
    assert made(D_several=20, E_several=19).endswith("the paper's: E and D.")
    # E alone was tested at several Q too, which says nothing of it beside the others.
    told = made(C=20, D=21, E=22, E_several=19)
    assert "the networks are C, D and E here, and E, D and C in the paper, on far more images" in told
    assert "may be chance" in made(C=20.0, D=20.1)


def test_rows_are_in_the_order_of_table_1(make_result: MakeResult):
    results = [make_result(configuration=name, scales=scales) for name in "EDA" for scales in ((40, 44), (37,))]
    rows = make_rows(results)
    assert [row.facts.first.configuration for row in rows] == list("AADDEE")
    assert rows[0].facts.first.scales == (37,)
    assert "Tables 3 and 4" in title(rows)


def test_markdown(make_result: MakeResult):
    result = make_result(trained_scale=(32, 40), data="my|photos")
    lines = markdown(make_rows([result])).splitlines()
    assert lines[0].endswith("held-out images of my\\|photos")
    assert lines[2] == "| network | S | Q | protocol | top-1 error (%) | top-3 error (%) | images |"
    assert lines[3] == "| :-- | :-- | :-- | :-- | --: | --: | --: |"
    assert lines[4] == "| A ×0.03 | \\[32;40] | 37 | dense + mirror | 33.33 | 0.00 | 6 |"


def test_rows_that_look_the_same_name_their_models_and_data(make_result: MakeResult):
    results = [make_result(model="runs/one"), make_result(model="runs/two", part="train")]
    text = markdown(make_rows(results))
    assert "| runs/one | held-out images of" in text
    assert "| runs/two | training images of" in text


@pytest.mark.parametrize(
    ("networks", "scale", "views", "errors"),
    [
        ("D + E", (256, 512), "dense", ("24.0", "7.1", "7.0")),
        ("D + E", (256, 512), "crops", ("23.9", "7.2", "–")),
        ("D + E", (256, 512), "both", ("23.7", "6.8", "6.8")),
        (SEVEN_NETS, (256, 512), "dense", ("24.7", "7.5", "7.3")),
        ("E", (256, 512), "both", ("24.4", "7.1", "7.0")),
        ("D", (256, 512), "both", ("24.4", "7.2", "–")),
    ],
)
def test_errors_on_the_test_set_stand_beside_ours(networks, scale, views, errors, make_result: MakeResult):
    """As Tables 6 and 7 print them; in the CSV nothing stands where the paper has nothing."""
    published = counterpart(networks, scale, 3, views)
    rows = [replace(make_rows([make_result()])[0], published=published)]
    assert rows[0].published_cells[2:] == errors
    (line,) = list(csv.reader(StringIO(table(rows, papers_errors=True).csv())))[1:]
    assert tuple(cell or "–" for cell in line[-3:]) == errors


def test_table_7_agrees_with_the_tables_before_it():
    """Three of its rows are the paper's own, which Tables 5 and 6 have too."""
    ours = {row.networks: row for row in TABLE_7 if row.method.startswith("VGG")}
    for networks, other in (
        ("2, multi-crop & dense", TABLE_6[3]),
        ("1, multi-crop & dense", TABLE_5[5]),
        ("7, dense", TABLE_6[0]),
    ):
        row = ours[networks]
        errors = (row.top1_error, row.top5_error, row.top5_test_error)
        assert errors == (other.top1_error, other.top5_error, other.top5_test_error)
    assert TABLE_7[-1].cells == ("AlexNet", "1", "40.7", "18.2", "–")


def test_a_new_protocol_needs_no_other_change(make_result: MakeResult, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(PROTOCOLS, "corners", Views("four corners", lambda *_: (TenCrop((37,)),)))
    [row] = make_rows([make_result(views="corners", configuration="D")])
    assert row.cells[3] == "four corners + mirror"
    assert row.published is None
    assert "four corners" in table([row], papers_errors=True).csv()
