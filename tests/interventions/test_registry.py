"""Interventions by name, and those that other packages add."""

from __future__ import annotations

from pathlib import Path

import pytest

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.interventions import INTERVENTIONS, attributes, find_intervention, intervene, list_interventions
from embprobe.interventions.preview import preview
from tests.conftest import row_of, solid

PLUGIN = """
from PIL import ImageOps
from embprobe.interventions import Intervention
from embprobe.interventions.base import pixels

def mirror(image, strength, rng):
    return ImageOps.mirror(image) if strength else image

flip = Intervention(
    "whatever", "pose", "1: mirrored", (0, 1), (1,), pixels(mirror), {"still": pixels(lambda image, s, rng: image)},
    whole=True, given=lambda argument: flip,
)
word = "no intervention"
"""


def install(folder: Path, entry_points: str, version: str = "1.0", **modules: str) -> None:
    """Lay out a distribution as pip would leave it on sys.path."""
    info = folder / f"plug-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plug\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[embprobe.interventions]\n{entry_points}\n")
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)


def half_red() -> Images:
    """One image of two pixels, red at the left and green at the right."""
    picture = solid((255, 0, 0), (2, 1))
    picture.putpixel((1, 0), (0, 255, 0))
    return Images("half", (row_of("a", picture),))


def left(images: Images) -> object:
    return images.rows[0].load().getpixel((0, 0))


def test_every_attribute_is_listed_once_and_every_intervention_by_its_name() -> None:
    assert attributes() == ["color", "text", "style", "category", "scene", "nuisance"]
    assert list_interventions() == list(INTERVENTIONS)


def test_another_package_adds_an_intervention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "mirror = plug_changes:flip", plug_changes=PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    assert list_interventions() == [*INTERVENTIONS, "mirror"]
    assert attributes() == ["color", "text", "style", "category", "scene", "nuisance", "pose"]
    found = find_intervention("mirror")
    assert (found.name, found.unit, found.origin) == ("mirror", "1: mirrored", "plug 1.0")  # named by its entry point
    assert left(intervene(half_red(), "mirror", 1, seed=0)) == (0, 255, 0)
    assert left(intervene(half_red(), "mirror/still", 1, seed=0)) == (255, 0, 0)
    (line,) = preview(half_red().rows[0], "pose", half_red(), seed=0).lines
    assert [cell.intervention for cell in line.cells] == ["mirror", "mirror/still"]
    with pytest.raises(UsageError, match=r"no intervention 'miror'\. Did you mean mirror\? There are: .*mirror"):
        find_intervention("miror")
    with pytest.raises(UsageError, match=r"The strength of 'mirror' is 0 or 1 \(1: mirrored\), not 0\.5"):
        intervene(half_red(), "mirror", 0.5, seed=0)


def test_another_version_of_the_package_makes_other_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints: dict[str, set[str]] = {}
    for version in ("1.0", "2.0"):
        install(tmp_path / version, "mirror = plug_changes:flip", version, plug_changes=PLUGIN)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / version)
            names = ("mirror", "mirror/still", "mirror=left", "mirror=left/still")
            fingerprints[version] = {intervene(half_red(), name, 1, seed=0).fingerprint for name in names}
    assert len(fingerprints["1.0"] | fingerprints["2.0"]) == 8


def test_another_package_cannot_take_the_place_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "hue = plug_changes:flip\nhue/lightness = plug_changes:flip", plug_changes=PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    assert list_interventions().count("hue") == 1
    assert find_intervention("hue") is INTERVENTIONS["hue"]
    assert find_intervention("hue/lightness").unit == "degrees in OKLCh"


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        ("broken = no_such_module_anywhere", r"'broken' \(no_such_module_anywhere\) cannot be imported: No module"),
        ("broken = plug_changes:flop", r"'broken' \(plug_changes:flop\) cannot be imported"),
        ("broken = plug_changes:word", r"'broken' \(plug_changes:word\) is no embprobe\.interventions\.Intervention"),
    ],
)
def test_an_intervention_that_cannot_be_imported_is_named(
    entry_point: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, entry_point, plug_changes=PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_intervention("hue") is INTERVENTIONS["hue"]  # ours still work
    with pytest.raises(EmbprobeError, match=message):
        intervene(half_red(), "broken", 1, seed=0)


def test_a_mark_of_our_own_names_no_package() -> None:
    """Stores that were made before another package could add one are found again."""
    (row,) = intervene(half_red(), "hue", 60, seed=0).rows
    assert row.content == f"{half_red().rows[0].content}|hue=60.0@0"
