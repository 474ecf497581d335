"""Heat maps of layers: numbers at their layers, the input below, the greatest of each row framed, chance in the bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from embprobe.comparing.layer_result import ComparedLayers, LayerComparison, LayerSimilarity
from embprobe.comparing.result import ImagesSummary
from embprobe.embeddings.workspace import Workspace
from embprobe.plots.layers import draw_layers, figures_of, plot_layers, save_layers
from embprobe.plots.style import PALETTE


def layers(name: str, depth: int, *, untrained: bool = False) -> ComparedLayers:
    numbers = tuple(range(1, depth + 1))
    names = tuple(f"{name},layer={number}" for number in numbers)
    return ComparedLayers(depth, numbers, names, names, untrained)


def similarity(measure: str, a: str, b: str, values: list[list[float]]) -> LayerSimilarity:
    matrix = tuple(map(tuple, values))
    chance = (0.0, 0.01) if measure == "debiased CKA" else (0.1, None)
    return LayerSimilarity(measure, a, b, matrix, matrix, matrix, *chance)


def comparison(a: str = "a/one", b: str = "b/two", depth: int = 3) -> LayerComparison:
    two = [[0.5, -0.004] + [0.1] * (depth - 2), [0.25, 0.75] + [0.2] * (depth - 2)]
    own = [[1.0, 0.5], [0.5, 1.0]]
    square = np.eye(depth).tolist()
    return LayerComparison(
        images=ImagesSummary("$x$ <b>photos</b>\n\u202e", "0", 10),
        compared=10,
        encoders={a: layers(a, 2), b: layers(b, depth)},
        k=1,
        resampled="image",
        seed=0,
        similarities=tuple(
            similarity(measure, *names, values)
            for names, values in (((a, b), two), ((a, a), own), ((b, b), square))
            for measure in ("debiased CKA", "mutual 1-NN")
        ),
        best=(),
        nearest=(),
        changes=(),
        made_from="",
    )


def framed(axis: Axes) -> list[tuple[int, int]]:
    """Rows and columns of the framed cells."""
    frames = [
        each
        for each in axis.patches
        if isinstance(each, Rectangle) and to_hex(each.get_edgecolor()) == PALETTE[1].lower()
    ]
    return [(round(each.get_y() + 0.46), round(each.get_x() + 0.46)) for each in frames]


def numbers(axis: Axes) -> dict[tuple[float, float], str]:
    return {text.get_position(): text.get_text() for text in axis.texts}


def test_numbers_stand_at_their_layers_and_the_greatest_of_a_row_is_framed() -> None:
    canvas = draw_layers(comparison(), [("a/one", "b/two")])
    first, second, bar, other_bar = canvas.axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("debiased CKA", "mutual 1-NN")
    assert (first.get_ylabel(), first.get_xlabel()) == ("layer of a/one", "layer of b/two")
    assert numbers(first) == {  # columns, then rows
        (0, 0): ".500", (1, 0): "-.004", (2, 0): ".100", (0, 1): ".250", (1, 1): ".750", (2, 1): ".200"
    }  # fmt: skip
    bottom, top = first.get_ylim()
    assert bottom < top and [each.get_text() for each in first.get_yticklabels()] == ["1", "2"]
    assert framed(first) == [(0, 0), (1, 1)]
    assert first.images[0].get_clim() == (-0.004, 0.75)
    assert (bar.get_ylabel(), other_bar.get_ylabel()) == ("chance 0.000 ± 0.01", "chance 0.100")
    assert np.asarray(other_bar.lines[-1].get_ydata()).tolist() == [0.1, 0.1]


def test_of_an_encoder_with_itself_the_greatest_of_two_layers_is_framed() -> None:
    canvas = draw_layers(comparison(), [("a/one", "a/one")])
    assert framed(canvas.axes[0]) == [(0, 1), (1, 0)]
    assert numbers(canvas.axes[0])[0, 0] == "1"
    turned = draw_layers(comparison(), [("b/two", "a/one")]).axes[0]
    assert numbers(turned)[1, 0] == ".250" and framed(turned) == [(0, 0), (1, 1), (2, 1)]


def test_many_layers_and_long_names_stay_inside_the_figure(tmp_path: Path) -> None:
    long = "open_clip/" + "ViT-H-14-378-quickgelu" * 4 + ":/a/$very$/long_path/model.safetensors"
    figure = comparison(long, "b/two", depth=48)
    out = tmp_path / "layers.png"
    plot_layers(figure, [(long, "b/two"), ("b/two", "b/two")], out)
    with Image.open(out) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape[1] < 4000
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()
    assert out.with_suffix(".svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


def test_figures_are_drawn_beside_the_numbers_once(tmp_path: Path) -> None:
    workspace, found = Workspace.open(tmp_path), comparison()
    save_layers(found, workspace)
    figures = figures_of(found, found.path(workspace).parent)
    assert [path.name for path in figures] == ["layers-1.png", "within.png"] and all(path.is_file() for path in figures)
    before = figures[1].stat().st_mtime_ns
    figures[0].unlink()
    save_layers(found, workspace)
    assert figures[0].is_file() and figures[1].stat().st_mtime_ns == before


@pytest.mark.parametrize("value", [[[0.0]], [[-0.01]]])
def test_one_pair_of_layers_that_agrees_in_nothing_is_drawn(value: list[list[float]], tmp_path: Path) -> None:
    single = LayerComparison(
        images=ImagesSummary("photos", "0", 10),
        compared=10,
        encoders={"a/one": layers("a/one", 1), "b/two": layers("b/two", 1)},
        k=1,
        resampled="image",
        seed=0,
        similarities=(similarity("debiased CKA", "a/one", "b/two", value),),
        best=(),
        nearest=(),
        changes=(),
        made_from="",
    )
    canvas = draw_layers(single, [("a/one", "b/two")])
    assert framed(canvas.axes[0]) == [(0, 0)]
