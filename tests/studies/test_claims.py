"""The claims on made answers, of which the verdicts are known."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
from made import NUM_IMAGES, evidence, measurement, training

import verydeep
from verydeep.reports.published import counterpart
from verydeep.studies import claims, verdicts
from verydeep.studies.claims import Claim, compare, judge

JITTERED = (32, 40)


def claim(number: int, *measurements) -> Claim:
    return judge(evidence(*measurements))[number - 1]


def networks(**errors) -> list:
    return [measurement(training(name.replace("_", "-")), error) for name, error in errors.items()]


def test_nothing_tested_is_nothing_claimed():
    judged = judge(evidence())
    assert [one.number for one in judged] == list(range(1, len(claims.CLAIMS) + 1))
    assert {one.verdict for one in judged} == {"not tested"}
    assert all(one.missing for one in judged)


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({"A": 30, "B": 28, "D": 24, "E": 24}, "agrees"),
        ({"A": 30, "B": 28, "D": 24, "E": 18}, "does not agree"),  # E falls on
        ({"A": 30, "B": 28, "D": 24, "E": 40}, "agrees"),  # it does not fall on
        ({"A": 30, "B": 33, "D": 24, "E": 24}, "does not agree"),
        ({"A": 30, "B": 30, "D": 24, "E": 24}, "not decided"),
        ({"A": 30, "B": 28, "D": 24}, "not tested"),
    ],
)
def test_depth(errors, verdict):
    assert claim(1, *networks(**errors)).verdict == verdict


@pytest.mark.parametrize(
    ("lrn", "verdict"),
    [(30, "agrees"), (32, "agrees"), (29.8, "agrees"), (29.4, "not decided"), (25, "does not agree")],
)
def test_normalisation_does_not_help(lrn, verdict):
    assert claim(2, *networks(A=30, A_LRN=lrn)).verdict == verdict


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({"B": 30, "C": 28, "D": 26}, "agrees"),
        ({"B": 30, "C": 31, "D": 26}, "does not agree"),
        ({"B": 30, "C": 26, "D": 28}, "does not agree"),
        ({"B": 30, "C": 29.95, "D": 26}, "not decided"),
    ],
)
def test_c_between_b_and_d(errors, verdict):
    assert claim(3, *networks(**errors)).verdict == verdict


def test_jittered_beats_the_best_fixed():
    d, d384 = training("D"), training("D-384", scale=(40, 40))
    jittered = training("D-jittered", scale=JITTERED)
    worse, best = measurement(d, 30), measurement(d384, 27)
    assert claim(4, worse, best, measurement(jittered, 25)).verdict == "agrees"
    assert claim(4, worse, best, measurement(jittered, 28)).verdict == "does not agree"
    found = claim(4, worse, best, measurement(jittered, 25)).statements[0]
    assert found.interval.mean == pytest.approx(-2)
    assert "D-jittered and D-384" in found.says


def test_several_scales():
    a, d = training("A"), training("D")
    tests = [
        measurement(a, 30),
        measurement(a, 28, scales="three"),
        measurement(d, 20),
        measurement(d, 20.5, scales="three"),
    ]
    found = claim(5, *tests)
    assert found.statements[0].interval.mean == pytest.approx((-2 + 0.5) / 2)
    assert found.statements[0].p is None  # of more than two runs


def test_complementary_is_better_than_each():
    d = training("D")
    alone = [measurement(d, 20, "dense", "three"), measurement(d, 19, "crops", "three")]
    assert claim(6, *alone, measurement(d, 18, "both", "three")).verdict == "agrees"
    assert claim(6, *alone, measurement(d, 19.5, "both", "three")).verdict == "does not agree"
    assert claim(6, measurement(d, 18, "both", "three")).verdict == "not tested"
    # A network that has not learned says nothing of protocols.
    e = training("E")
    guesses = [measurement(e, 90, views, "three") for views in ("dense", "crops", "both")]
    assert claim(6, *alone, measurement(d, 18, "both", "three"), *guesses).verdict == "agrees"
    assert claim(6, *guesses).verdict == "not tested"


def test_fusion_beats_the_best_of_its_networks():
    d, e = training("D"), training("E")
    alone = [measurement(d, 20), measurement(e, 22)]
    assert claim(7, *alone, measurement([d, e], 18)).verdict == "agrees"
    assert claim(7, *alone, measurement([d, e], 21)).verdict == "does not agree"
    assert claim(7, *alone, measurement([d, e], 20)).verdict == "not decided"
    other_way = measurement([d, e], 18, "crops")
    assert claim(7, *alone, other_way).verdict == "not tested"


def test_small_filters():
    shallow = measurement(training("B-5x5", "B-5x5"), 32)
    grown, alone = training("B", grow_from="A"), training("B-alone")
    assert claim(8, shallow, measurement(grown, 30)).verdict == "agrees"
    assert "B-alone" in claim(8, shallow, measurement(grown, 30), measurement(alone, 33)).statements[0].says
    assert claim(8, shallow, measurement(grown, 30), measurement(alone, 33)).verdict == "does not agree"


@pytest.mark.parametrize(
    ("grown", "alone", "verdict"),
    [(30, 90, "agrees"), (30, 82, "not decided"), (30, 60, "does not agree"), (90, 90, "not decided")],
)
def test_growing(grown, alone, verdict):
    tests = [
        measurement(training("D", grow_from="A", init="normal"), grown),
        measurement(training("D-normal", init="normal"), alone),
    ]
    assert claim(9, *tests).verdict == verdict


def test_growing_is_compared_with_the_same_network_from_the_same_start_alone():
    plain = training("D-normal", init="normal")
    grown = training("D", grow_from="A", init="normal")
    other = replace(plain, recipe=replace(plain.recipe, batch_norm=False))
    assert claim(9, measurement(grown, 30), measurement(other, 90)).verdict == "not tested"
    by_he = measurement(training("D", grow_from="A"), 30)  # he alone could be what helps
    assert claim(9, by_he, measurement(plain, 90)).verdict == "not tested"
    both = claim(9, by_he, measurement(replace(grown, name="D-grown"), 40), measurement(plain, 90))
    assert both.statements[0].interval.mean == pytest.approx(-50)


def test_the_best_fixed_scale_is_not_the_best_variant():
    """A variant of one S has another start, say, and not another S."""
    d, variant = measurement(training("D"), 30), measurement(training("D-glorot", "D", init="glorot"), 20)
    jittered = measurement(training("D-jittered", scale=JITTERED), 25)
    assert claim(4, d, variant, jittered).verdict == "agrees"
    wide = training("D-wide", "D", scale=(40, 40))
    wide = replace(wide, recipe=replace(wide.recipe, width=1.0))
    assert claim(4, d, measurement(wide, 10), jittered).verdict == "agrees"


def test_a_network_of_one_seed_does_not_take_the_others_seeds():
    a, d, e = training("A"), training("D"), training("E")
    tests = [
        *(measurement(a, (30, 31, 32), scales=scales) for scales in ("one", "three")),
        *(measurement(d, errors, scales=scales) for scales, errors in (("one", 20), ("three", 10))),
        *(measurement(e, 90, scales=scales) for scales in ("one", "three")),  # has not learned
    ]
    found = claim(5, *tests).statements[0]
    assert (found.seeds, found.interval.mean) == (3, 0)
    assert "(A)" in found.says
    found = claim(5, *tests[2:]).statements[0]
    assert (found.seeds, found.interval.mean, "(D)" in found.says) == (1, pytest.approx(-10), True)


def test_two_seeds_leave_no_network_out():
    """Fewer than three do not count in the interval."""
    tests = [
        measurement(training(name), errors, scales=scales)
        for name, errors in (("A", (30, 31)), ("B", 28), ("D", 24))
        for scales in ("one", "three")
    ]
    assert "(A, B, D)" in claim(5, *tests).statements[0].says


def test_a_verdict_says_how_many_seeds_decided_it():
    b, c, d = training("B"), training("C"), training("D")
    judged = judge(evidence(measurement(b, (30, 30, 30)), measurement(c, 33), measurement(d, (20, 21, 20))))
    assert (judged[2].verdict, judged[2].deciding_seeds) == ("does not agree", 1)
    assert verdicts.verdict(judged[2]) == "does not agree (1 seed)"
    assert "1 of the verdicts is by fewer than 3 seeds." in verdicts.headline(judged)
    # Of two statements that fail, one is enough; the other may have fewer seeds.
    a, e = training("A"), training("E")
    depth = [measurement(a, (20, 21, 20)), measurement(b, (30, 30, 30)), measurement(d, (35, 36, 35))]
    failed = judge(evidence(*depth, measurement(e, 10)))[0]  # E gains more than a step before it
    assert {one.seeds for one in failed.statements if one.holds is False} == {1, 3}
    assert (failed.verdict, failed.deciding_seeds) == ("does not agree", 3)
    three = claim(3, *(measurement(one, (error,) * 3) for one, error in ((b, 30), (c, 25), (d, 20))))
    assert verdicts.verdict(three) == "agrees (3 seeds)"
    assert verdicts.verdict(claim(3, *networks(B=30, C=30, D=20))) == "not decided"


def test_the_best_member_of_a_fusion_is_the_best_of_its_seed():
    d, e = training("D"), training("E")
    tests = [measurement(d, (20, 30, 30)), measurement(e, 22), measurement([d, e], 21)]
    assert claim(7, *tests).verdict == "does not agree"  # D's seed has 20
    assert claim(7, tests[0], tests[2]).verdict == "not tested"  # E could be better


def test_the_step_of_a_to_d_is_as_uncertain_as_it_is():
    found = claim(1, *networks(A=30, B=28, D=24, E=22)).statements[2]
    assert found.threshold == 0
    assert found.interval.mean == pytest.approx(22 - 24 + (30 - 24) / 3)
    rises = claim(1, *networks(A=20, B=20, D=21, E=21)).statements[2]  # the same where D is no better than A
    assert rises.interval.mean == pytest.approx(21 - 21 + (20 - 21) / 3)


def test_the_first_of_a_configuration_stands_for_it_at_the_scale_that_most_have():
    tests = [
        *networks(A=30, B=28, C=27, D=26),
        measurement(training("D-again", "D"), 50),
        measurement(training("C-40", "C", scale=(40, 40)), 10),
        measurement(training("D-40", "D", scale=(40, 40)), 10),
    ]
    assert claim(3, *tests).verdict == "agrees"


def test_two_single_runs_have_mcnemars_p_and_several_seeds_are_averaged():
    b, c = training("B"), training("C")
    single = compare("", ((1, measurement(c, 25)), (-1, measurement(b, 26))))
    assert single.p == pytest.approx(2 * 0.5**20)  # 20 images, all of one kind
    several = compare("", ((1, measurement(c, (25, 24, 29))), (-1, measurement(b, (26, 27, 28)))))
    assert several.p is None
    assert (several.seeds, several.seeds_alike) == (3, 2)
    assert several.interval.over_seeds
    assert several.to_json()["interval_over"] == ["images", "seeds"]
    assert several.holds is None  # one seed has the other sign
    assert several.interval.mean == pytest.approx(-1)
    fewer = compare("", ((1, measurement(c, (25, 24, 29))), (-1, measurement(b, 28))))
    assert fewer.seeds == 1  # that both have
    assert fewer.to_json()["interval_over"] == ["images"]
    assert fewer.interval.mean == pytest.approx(-3)


def test_the_interval_narrows_with_images_that_agree():
    """Pairing: two nets that are wrong on the same images are told apart where independent ones are not."""
    b, c = measurement(training("B"), 30), measurement(training("C"), 29)
    paired = compare("", ((1, c), (-1, b)))
    apart = replace(c, wrong=c.wrong[:, np.random.default_rng(0).permutation(NUM_IMAGES)])
    unpaired = compare("", ((1, apart), (-1, b)))
    assert paired.holds
    assert unpaired.holds is None
    assert paired.interval.mean == pytest.approx(unpaired.interval.mean)


def test_the_papers_difference_stands_beside():
    b, c = (
        replace(one, published=counterpart(one.network, (256, 256), 1, "dense")) for one in networks(B=30, C=28)
    )
    assert compare("", ((1, c), (-1, b))).published == pytest.approx(28.1 - 28.7)


ANOTHER_CLAIM = """
from verydeep.studies.claims import claim, compare, less


@claim("a network is as good as itself", "nowhere", takes="a dense test of A")
def itself(found):
    a, = found.networks("A")
    yield compare("A errs less than A and a point", less(a, a), 1.0)
"""


def test_a_claim_is_added_by_a_function(tmp_path, monkeypatch):
    """Another module's claim has a number, a verdict and a place in every form of the report."""
    monkeypatch.setattr(claims, "CLAIMS", list(claims.CLAIMS))
    (tmp_path / "another_claim.py").write_text(ANOTHER_CLAIM)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("another_claim")
    (tmp_path / "study.toml").write_text('recipe = "digits"\n[[train]]\nnetworks = "A"\n')
    report = verydeep.study(out=tmp_path, report=True)
    added = report.claims[-1]
    assert (added.number, added.says) == (len(claims.CLAIMS), "a network is as good as itself")
    assert added.missing == "a dense test of A; lacking A"
    assert "a network is as good as itself" in (tmp_path / "tables.md").read_text()
    assert "a network is as good as itself" in (tmp_path / "index.html").read_text()
    assert claim(added.number, *networks(A=30)).verdict == "agrees"


def test_claims_are_json():
    plain = [one.to_json() for one in judge(evidence(*networks(A=30, B=28, C=27, D=24, E=24)))]
    assert json.loads(json.dumps(plain)) == plain
