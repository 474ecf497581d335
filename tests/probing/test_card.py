"""Cards: the bundled ones are right, and a wrong one says which file, which key, and what was expected."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embprobe.encoders import list_encoders
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from embprobe.images.dataset_cards import dataset_cards
from embprobe.interventions import INTERVENTIONS
from embprobe.probing.card import Card, attributes, bundled_card, read_card
from embprobe.probing.kinds import kinds
from embprobe.probing.kinds.decoding import UNSEEN, Decoding
from embprobe.probing.kinds.displacement import Displacement
from embprobe.probing.kinds.geometry import Geometry
from embprobe.probing.kinds.natural_pairs import NaturalPairs
from embprobe.probing.kinds.preference import Preference
from embprobe.probing.kinds.variance import Variance
from embprobe.probing.kinds.zero_shot import ZeroShot
from embprobe.probing.measure import Measure
from embprobe.probing.selection import Selection
from tests.conftest import Reads

GOOD = """\
schema = 1
attribute = "color"
title = "Colour"
question = "Does it move?"
resample = "concept"

[[measures]]
kind = "displacement"
intervention = "hue"
strengths = [60, 120]
images = { where = { split = ["train"] }, one_per = "concept", limit = 500 }

[[measures]]
kind = "decoding"
label = "category"
classifier = "knn"
fit = { where = { split = ["train"] } }
tests = { "unseen drawings" = { where = { split = ["unseen-drawing"] } } }
"""
EVERY_KIND = (
    GOOD.replace(
        "[[measures]]",
        """\
references = ["reference/pixels", "reference/random-vit"]

[headline]
kind = "displacement"
target = "hue"
strength = 60
says = "notices hue"
much = "as often"

[[must_fail]]
encoder = "reference/pixels"
kind = "decoding"
target = "category"
variant = "k-NN"
test = "unseen drawings"
at_most = 1.5
because = "it has no colour"

[[must_fail]]
encoder = "reference/random-vit"
measure = "displacement"
no_better_than = "reference/pixels"
because = "it has learned nothing"

[[measures]]""",
        1,
    )
    + """
[[measures]]
kind = "decoding"
label = "hue"
called = "its hue"
classifier = "gda"
fit = { where = { split = ["train"] } }
tests = { "new" = { where = { split = ["unseen-concept"] } } }
under = "greyscale 1"
treatments = { red = ["tint=30 1"], blue = ["tint=260 1", "tint=250 1"] }
held_out = { red = ["tint=40 1"] }
control_task = true
shots = [4, 16]
transforms = ["pca:32", "int8"]

[[measures]]
kind = "zero-shot"
label = "name"
templates = ["{}", "a drawing of {}"]
k = [1]
treatments = ["none", "hue 120"]

[[measures]]
kind = "preference"
concept = "concept"
cue = "hue"
within = ["split"]
apart = ["style"]
crossed = true
treatments = { red = ["tint=30 1"], blue = ["tint=260 1"] }

[[measures]]
kind = "preference"
concept = "concept"
cue = "word"
conflict = "word-conflicts 0.8"

[[measures]]
kind = "variance"
unit = "concept"
of = ["style", "color", "rest"]
limit = 60

[measures.factors]
concept = "concept"
style = "style"
color = { red = ["tint=30 1"], green = ["tint=140 1"] }

[[measures]]
kind = "natural-pairs"
of = "colour"
attributes = { colour = "reference/color-histogram", text = "words of name" }

[[measures]]
kind = "geometry"
quick = true
statistics = ["uniformity", "modality gap"]
label = "name"

[[measures]]
kind = "attraction"
attribute = ["style"]
among = ["concept", "category"]

[[measures]]
kind = "blind-pairs"
pattern = "orientation"
after = "turn=180 1"

[[measures]]
kind = "dense"
ask = ["object"]
"""
)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- bundled -----------------------------------------------------------------------------------------------------


def test_these_attributes_have_a_card() -> None:
    assert attributes() == [
        "background", "category", "color", "dense", "fine-grained", "geometry", "robustness", "style", "text",
        "typographic", "vision",
    ]  # fmt: skip


@pytest.mark.parametrize("attribute", attributes())
def test_a_bundled_card_asks_only_for_what_there_is(attribute: str, emoji: Images) -> None:
    card = bundled_card(attribute)
    assert card.attribute == attribute
    assert card.title and card.question.endswith("?") and card.sources
    assert emoji.has(card.resample)
    assert set(card.references) <= set(list_encoders("reference/*"))
    assert card.headline is not None
    assert card.must_fail or any(material.must_fail for material in card.materials)
    for measure in card.measures:
        assert len(measure.images.of(emoji, seed=0)) >= 100
        for label in labels_of(measure):
            assert emoji.has(label), label
        if isinstance(measure, Displacement):
            assert measure.intervention.partition("=")[0] in INTERVENTIONS
        if isinstance(measure, Decoding):
            pool = measure.images.of(emoji, seed=0)
            assert min(len(rows.of(pool, seed=0)) for rows in (measure.fit, *measure.tests.values())) > 100


def labels_of(measure: Measure) -> list[str]:
    """Those that images must have for a measure to be asked in full."""
    match measure:
        case Decoding(treatments=treatments, label=label):
            return [] if treatments else [label]
        case ZeroShot(label=label):
            return [label]
        case Preference(conflict=None, treatments=treatments, concept=concept, cue=cue, within=within, apart=apart):
            return [concept, *([] if treatments else [cue]), *within, *apart]
        case Variance(factors=factors):
            return [each for each in factors.values() if isinstance(each, str)]
        case NaturalPairs(attributes=attributes):
            return [each.removeprefix("words of ") for each in attributes.values() if "/" not in each]
        case Geometry(label=str(label)):
            return [label]
    return []


@pytest.mark.parametrize("attribute", attributes())
def test_what_is_quick_is_enough_for_the_headline(attribute: str) -> None:
    card = bundled_card(attribute)
    assert card.headline is not None
    quick = card.quickly()
    assert 0 < len(quick.measures) < len(card.measures) or attribute in ("background", "dense", "geometry")
    assert quick.headline == card.headline and quick.must_fail == card.must_fail


@pytest.mark.parametrize("attribute", attributes())
def test_headline_and_checks_name_a_number_that_the_quick_card_gives(attribute: str) -> None:
    card = bundled_card(attribute)
    keys = [key for measure in card.quickly().measures for key in measure.declared_keys()]
    assert len(set(keys)) == len(keys)
    assert card.headline is not None and card.headline.find(keys, folds=UNSEEN) is not None
    every = [key for measure in card.measures for key in measure.declared_keys()]
    assert all(check.find(every, folds=UNSEEN) is not None for check in card.must_fail)


@pytest.mark.parametrize("attribute", attributes())
def test_no_bundled_card_tests_on_what_it_is_fitted_on(attribute: str, emoji: Images) -> None:
    for measure in bundled_card(attribute).measures:
        if isinstance(measure, Decoding):
            pool = measure.images.of(emoji, seed=0)
            fitted = {row.key for row in measure.fit.of(pool, seed=0).rows}
            for tested in measure.tests.values():
                assert not fitted & {row.key for row in tested.of(pool, seed=0).rows}


def test_the_data_set_card_of_the_emoji_is_true(emoji: Images) -> None:
    (card,) = (card for card in dataset_cards() if card.name == "bundled/emoji")
    assert all(emoji.has(label) for label in card.labels)
    assert set(card.splits) == set(emoji.label("split"))
    assert all(len(load_images(f"{card.name}:{split}")) > 800 for split in card.splits)


def test_every_data_set_card_parses() -> None:
    cards = [item.name for item in files("embprobe.datasets").iterdir() if item.name.endswith(".toml")]
    assert len(dataset_cards()) == len(cards)


def test_an_unknown_attribute_names_the_nearest_and_all() -> None:
    with pytest.raises(
        UsageError, match=r"no probe of 'colour'\. Did you mean color\? There are: background, category, color"
    ):
        bundled_card("colour")


# --- one's own ---------------------------------------------------------------------------------------------------


def test_a_good_card_is_read_as_it_is_written(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, GOOD))
    assert isinstance(card, Card)
    moved, decoded = card.measures
    assert isinstance(moved, Displacement) and isinstance(decoded, Decoding)
    assert moved.strengths == [60, 120] and moved.images.limit == 500
    assert moved.images.where == {"split": ["train"]}
    assert list(decoded.tests) == ["unseen drawings"]


def test_a_card_may_have_every_kind_of_measure(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, EVERY_KIND))
    assert {measure.kind for measure in card.measures} == kinds().keys()
    assert card.headline is not None and (card.headline.strength, card.headline.much) == (60, "as often")
    assert [check.at_most for check in card.must_fail] == [1.5, None]
    variance = next(measure for measure in card.measures if isinstance(measure, Variance))
    assert variance.factors["style"] == "style"
    assert variance.factors["color"] == {"red": ["tint=30 1"], "green": ["tint=140 1"]}
    # the one that says it is quick, and those of the headline and of a check
    assert [measure.kind for measure in card.quickly().measures] == ["displacement", "decoding", "geometry"]
    assert Card.model_validate(card.model_dump(by_alias=True)) == card  # what a result holds can be asked again


def test_without_quick_measures_all_are_asked(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, GOOD))
    assert card.quickly() == card


@pytest.mark.parametrize(
    ("old", "new", "key", "expected"),
    [
        ('title = "Colour"', "title = 7", "title", "string"),
        ('title = "Colour"\n', "", "title", "this key is missing"),
        ("schema = 1", "schema = 2", "schema", "1"),
        ('"color"', '"../../etc"', "attribute", "pattern"),
        ('resample = "concept"', 'resample = "concept"\nresampel = "x"', "resampel", "there is no such key"),
        ("strengths = [60, 120]", "strengths = 60", "measures.0.strengths", "list"),
        ("strengths = [60, 120]", "strengths = []", "measures.0.strengths", "at least 1"),
        ("strengths = [60, 120]", 'strengths = ["much"]', "measures.0.strengths.0", "number"),
        ("strengths = [60, 120]", "strengths = [nan]", "measures.0.strengths.0", "finite"),
        ("strengths = [60, 120]", "strengths = [inf]", "measures.0.strengths.0", "finite"),
        ("limit = 500", "limit = 1", "measures.0.images.limit", "greater than 1"),
        ("limit = 500", "limti = 5", "measures.0.images.limti", "there is no such key"),
        (
            '{ split = ["train"] }, one',
            '{ split = "train" }, one',
            "measures.0.images.where.split",
            "list",
        ),
        ('kind = "decoding"', 'kind = "magic"', "measures.1", "displacement"),
        ('kind = "decoding"\n', "", "measures.1", "kind"),
        ('"knn"', '"svm"', "measures.1.classifier", "logistic"),
        ("says =", "say =", "headline.says", "this key is missing"),
        ('much = "as often"', "muhc = 1", "headline.muhc", "there is no such key"),
        ("strength = 60", "strength = nan", "headline.strength", "finite"),
        ('target = "hue"', 'traget = "hue"', "headline.traget", "there is no such key"),
        (
            'kind = "displacement"\ntarget',
            "target",
            "headline",
            "say which number is meant: kind, target and so on, or",
        ),
        ('target = "hue"', 'intervention = "hue"', "headline", "an intervention is the target or the condition"),
        ('target = "hue"', 'measure = "x"', "headline", "say which number is meant: kind, target and so on, or"),
        ('measure = "displacement"', 'measure = "displacement"\ntarget = "hue"', "must_fail.1", "another spelling of"),
        (
            "at_most = 1.5",
            "at_most = 1.5\nbelow = 0.5",
            "must_fail.0",
            "say one of within, at_most, below and no_better_than",
        ),
        ("at_most = 1.5\n", "", "must_fail.0", "say one of within, at_most, below and no_better_than"),
        ("at_most = 1.5", "at_most = 0", "must_fail.0.at_most", "greater than 0"),
        ('because = "it has no colour"\n', "", "must_fail.0.because", "this key is missing"),
        (
            'no_better_than = "reference/pixels"',
            'no_better_than = "reference/color-histogram"',
            "the top",
            "must_fail names reference/color-histogram, which references has not",
        ),
        (
            'references = ["reference/pixels", "reference/random-vit"]',
            "",
            "the top",
            "must_fail names reference/pixels, reference/random-vit, which references has not",
        ),
        ('label = "hue"\n', "", "measures.2.label", "this key is missing"),
        (
            'held_out = { red = ["tint=40 1"] }',
            'held_out = { green = ["tint=140 1"] }',
            "measures.2",
            "held_out may only have values that treatments has",
        ),
        (
            'treatments = { red = ["tint=30 1"], blue = ["tint=260 1", "tint=250 1"] }',
            'treatments = { red = ["tint=30 1"] }',
            "measures.2",
            "treatments must have at least two values",
        ),
        ('"gda"', '"logistic"', "measures.2", "with shots the classifier is gda or knn"),
        ("shots = [4, 16]", "shots = [0]", "measures.2.shots.0", "greater than or equal to 1"),
        ('templates = ["{}", "a drawing of {}"]', "templates = []", "measures.3.templates", "at least 1"),
        ('"none", "hue 120"', "", "measures.3.treatments", "at least 1"),
        (
            'crossed = true\ntreatments = { red = ["tint=30 1"], blue = ["tint=260 1"] }',
            'treatments = { red = ["tint=30 1"] }',
            "measures.4",
            "treatments must have at least two values",
        ),
        (
            'conflict = "word-conflicts 0.8"',
            'conflict = "word-conflicts 0.8"\ntreatments = { a = ["none"], b = ["hue 9"] }',
            "measures.5",
            "either treatments or a conflict",
        ),
        ('unit = "concept"', 'unit = "thing"', "measures.6", "unit must be one of the factors"),
        ('of = ["style", "color", "rest"]', 'of = ["hue", "rest"]', "measures.6", "factors and 'rest', not hue"),
        ("limit = 60", "limit = 2", "measures.6.limit", "greater than 2"),
        (
            'color = { red = ["tint=30 1"], green',
            'color = { red = "tint=30 1", green',
            "measures.6.factors.color.red",
            "list",
        ),
        (', green = ["tint=140 1"]', "", "measures.6.factors.color", "at least 2"),
        (
            'color = { red = ["tint=30 1"], green = ["tint=140 1"] }',
            "color = 7",
            "measures.6.factors.color",
            "dictionary",
        ),
        ('of = "colour"', 'of = "style"', "measures.7", "of must be one of the attributes"),
        ('"uniformity", ', '"roundness", ', "measures.8.statistics.0", "effective rank"),
        ('kind = "geometry"', 'kind = "geometri"', "measures.8", "natural-pairs, preference, variance, zero-shot"),
    ],
)
def test_a_wrong_card_names_file_key_and_what_was_expected(
    tmp_path: Path, old: str, new: str, key: str, expected: str
) -> None:
    text = GOOD if old in GOOD else EVERY_KIND
    assert old in text
    path = write(tmp_path, text.replace(old, new, 1))
    with pytest.raises(EmbprobeError) as wrong:
        read_card(path)
    message = str(wrong.value)
    assert f"'{path}'" in message and f"'{key}'" in message and expected in message.split(f"'{key}'")[1]
    assert "\n" not in message


@pytest.mark.parametrize("text", ["schema = ", "[[measures]\n", "a = 1\na = 2\n", "schema = 1\n\x00"])
def test_what_is_not_toml_says_where(tmp_path: Path, text: str) -> None:
    with pytest.raises(EmbprobeError, match=r"mine\.toml' is not valid TOML: .*(line \d|end of document)"):
        read_card(write(tmp_path, text))


def test_a_card_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EmbprobeError, match=r"mine\.toml' is not a text file"):
        read_card(tmp_path / "mine.toml")
    with pytest.raises(UsageError, match=r"gone\.toml' cannot be read: No such file"):
        read_card(tmp_path / "gone.toml")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_card(tmp_path)


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutilated_card_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    lines = EVERY_KIND.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        lines[at] = data.draw(
            st.one_of(
                st.sampled_from(
                    [
                        "",
                        lines[at] * 2,
                        lines[at].replace("=", "= -1 #"),
                        lines[at].replace('"', ""),
                        lines[at].replace("[", "{").replace("]", "}"),
                        lines[at].replace("= ", "= [").replace("\n", "]"),
                        *(
                            f"{lines[at].split('=')[0]}= {value}"
                            for value in ("[]", "{}", "[[1]]", "true", "nan", '"x"')
                        ),
                        *lines,
                    ]
                ),
                st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            )
        )
    try:
        card = read_card(write(tmp_path, "\n".join(lines)))
    except EmbprobeError as wrong:
        assert "mine.toml" in str(wrong)
    else:
        assert isinstance(card, Card)


# --- selections --------------------------------------------------------------------------------------------------


def twelve() -> Images:
    """Four concepts in three styles; the first style is for training."""
    return Reads()(
        12,
        labels={
            "concept": [f"c{i // 3}" for i in range(12)],
            "style": [f"s{i % 3}" for i in range(12)],
            "split": ["train" if i % 3 == 0 else "test" for i in range(12)],
        },
    )


def numbers(images: Images) -> list[int]:
    return [int(row.key) for row in images.rows]


def test_where_keeps_the_order() -> None:
    assert numbers(Selection(where={"split": ["train"]}).of(twelve(), seed=0)) == [0, 3, 6, 9]
    assert numbers(Selection(where={"split": ["train"], "concept": ["c3", "c1"]}).of(twelve(), seed=0)) == [3, 9]
    assert numbers(Selection().of(twelve(), seed=0)) == list(range(12))


def test_one_per_takes_one_row_of_every_value() -> None:
    chosen = Selection(where={"split": ["test"]}, one_per="concept").of(twelve(), seed=0)
    assert chosen.label("concept") == ["c0", "c1", "c2", "c3"]
    assert set(chosen.label("split")) == {"test"}


def test_the_choice_depends_on_the_seed_alone_and_is_even() -> None:
    selection = Selection(one_per="concept", limit=2)
    images = twelve()
    chosen = [numbers(selection.of(images, seed=seed)) for seed in range(300)]
    assert chosen == [numbers(selection.of(twelve(), seed=seed)) for seed in range(300)]
    assert all(len(each) == 2 and each == sorted(each) and each[0] // 3 != each[1] // 3 for each in chosen)
    # 600 choices over 12 rows: 50 each, with a standard deviation below 7
    counts = Counter(i for each in chosen for i in each)
    assert len(counts) == 12 and all(20 < count < 80 for count in counts.values())


def test_the_limit_is_a_random_choice_in_order() -> None:
    chosen = numbers(Selection(limit=5).of(twelve(), seed=1))
    assert len(chosen) == 5 and chosen == sorted(chosen) != list(range(5))
    assert numbers(Selection(limit=100).of(twelve(), seed=1)) == list(range(12))


def test_a_selection_of_nothing_or_by_a_missing_label_is_an_error() -> None:
    with pytest.raises(EmbprobeError, match=r"No image in 'noise' is what this probe asks for: split = nowhere"):
        Selection(where={"split": ["nowhere"]}).of(twelve(), seed=0)
    with pytest.raises(EmbprobeError, match="label 'color'"):
        Selection(where={"color": ["red"]}).of(twelve(), seed=0)
    with pytest.raises(EmbprobeError, match="label 'color'"):
        Selection(one_per="color").of(twelve(), seed=0)


def test_what_is_asked_of_labels_no_image_has_is_left_out() -> None:
    selection = Selection(where={"split": ["train"], "house": ["x"]}, one_per="artist", limit=5)
    assert selection.known_to(twelve()) == Selection(where={"split": ["train"]}, limit=5)
    assert selection.known_to(Reads()(3)) == Selection(limit=5)
    assert Selection(one_per="concept").known_to(twelve()) == Selection(one_per="concept")
