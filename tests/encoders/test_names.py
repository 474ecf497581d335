"""Names are split and joined again; options may be unknown, be the defaults, or change the vectors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from embprobe.encoders import load_encoder
from embprobe.encoders.registry import Name
from embprobe.errors import EmbprobeError, UsageError
from tests.encoders.conftest import untrained

PATHS = st.text(st.sampled_from("ab,:/\\.=+-_@ ~é*'\"1"), max_size=20)
OPTIONS = st.dictionaries(
    st.text(st.sampled_from("abz_"), min_size=1, max_size=5), st.text(st.sampled_from("az09.+-_: "), max_size=5)
)


@given(st.sampled_from(["timm", "open_clip", "dino", "plug"]), st.text(st.sampled_from("aB1-_."), min_size=1), PATHS)
@example("open_clip", "ViT-B-16", "C:\\weights\\clip, final.pt")
@example("timm", "vit.dino", "/runs/a+b/lr=0.1/epoch,3.pth")
@example("timm", "hf-hub", "owner/name@main")
@example("timm", "vit", "x,=1")
@example("timm", "vit", "x,A=1")
@example("timm", "vit", "x,a=1,2")
@example("timm", "vit", "x,a=1=2")
def test_a_name_without_options_behind_it_is_kept_whole(family: str, model: str, weights: str) -> None:
    assume(not re.fullmatch(r".*,[a-z_]+=[^,=]*", weights))
    assert Name.parse(f"{family}/{model}:{weights}") == Name(family, model, weights, {})


@given(PATHS, OPTIONS)
@example("C:\\a,b.pt", {"size": "224"})
@example("", {"size": "224", "pooling": "cls+mean"})
def test_options_are_the_pairs_at_the_end(weights: str, options: dict[str, str]) -> None:
    assume("=" not in weights)
    written = "".join(f",{option}={value}" for option, value in options.items())
    assert Name.parse(f"timm/vit:{weights}{written}") == Name("timm", "vit", weights, options)
    assert Name.parse(f"python:lab.nets:make{written}") == Name("python", "lab.nets", "make", options)
    assert Name.parse(f"reference/pixels{written}") == Name("reference", "pixels", "", options)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["timm/", "open_clip/", "dino/", "bundled/", "reference/", "python:", "", "timm/test_vit:"]),
    st.text(),
)
@example("open_clip/ViT-B-16:", "openai,")
@example("timm/test_vit:", ",size=224")
@example("dino/", "vit_tiny:,key=")
@example("reference/", "pixels,")
@example("bundled/", "../clip")
@example("bundled/", "")
@example("timm/", "hf-hub:,")
def test_any_typed_text_is_an_encoder_or_a_sentence(offline: None, start: str, rest: str) -> None:
    try:
        load_encoder(start + rest)
    except EmbprobeError as refused:
        assert str(refused)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/test_vit,poling=cls", "'timm' has no option 'poling'; .* Did you mean 'pooling'?"),
        ("open_clip/ViT-B-16:openai,sise=224", "'open_clip' has no option 'sise'; .* Did you mean 'size'?"),
        ("dino/vit_tiny:x.pth,keys=student", "'dino' has no option 'keys'; .* Did you mean 'key'?"),
        ("bundled/clip,size=96", "'bundled' has no option 'size'; it has pooling, precision"),
        ("reference/pixels,size=96", "'reference' has no option 'size'; it has none"),
        ("timm/test_vit,device=cpu", "'timm' has no option 'device'; it has pooling, size, resize, precision"),
        ("timm/test_vit,model=cpu", "'timm' has no option 'model'"),
    ],
)
def test_an_option_that_is_unknown_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(EmbprobeError, match=message):
        load_encoder(name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return files of small weights of timm and of DINO."""
    folder = tmp_path_factory.mktemp("names")
    paths = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in ("test_vit", "vit_tiny"):
            paths[name] = folder / f"{name}.safetensors"
            network = timm.create_model("vit_tiny_patch16_224" if name == "vit_tiny" else name)
            save_file(untrained(network).state_dict(), paths[name])
    return paths


@pytest.fixture
def name_of(
    clips: dict[str, Path], files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Return by family the name of an encoder without options."""
    (tmp_path / "named.py").write_text(
        "from torch import nn\nfrom embprobe.encoders import network_encoder\n"
        "def make(device, precision=''):\n"
        "    return network_encoder(nn.Flatten(), device=device, input_size=4, mean=(0,) * 3, std=(1,) * 3,\n"
        "                           pooling='none', precision=precision)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return {
        "bundled": "bundled/clip",
        "pixels": "reference/pixels",
        "random": "reference/random-vit:3",
        "open_clip": f"open_clip/local-dir:{clips['vit']}",
        "timm": f"timm/test_vit:{files['test_vit']}",
        "dino": f"dino/vit_tiny:{files['vit_tiny']}",
        "python": "python:named:make",
    }


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("bundled", ""),
        ("bundled", ",precision=bfloat16"),
        ("pixels", ""),
        ("random", ""),
        ("open_clip", ""),
        ("open_clip", ",pooling=trunk,size=96,resize=100,precision=bfloat16"),
        ("timm", ""),
        ("timm", ",pooling=cls+mean,size=96,resize=100,precision=bfloat16"),
        ("dino", ",pooling=mean,size=96,resize=100,precision=float16"),
        ("python", ""),
        ("python", ",precision=bfloat16"),
    ],
)
def test_the_name_a_spec_has_is_the_name_of_that_spec(family: str, options: str, name_of: dict[str, str]) -> None:
    name = name_of[family] + options
    spec = load_encoder(name).spec
    assert spec.name == name
    assert load_encoder(spec.name).spec == spec
    shuffled = "".join(f",{option}" for option in reversed(options.split(",")[1:]))
    assert load_encoder(name_of[family] + shuffled).spec.fingerprint == spec.fingerprint


def test_a_default_that_the_caller_gives_is_in_the_name(name_of: dict[str, str]) -> None:
    for family in ("bundled", "open_clip", "timm"):
        spec = load_encoder(name_of[family], precision="bfloat16").spec
        assert spec.name == f"{name_of[family]},precision=bfloat16" and spec.precision == "bfloat16"
        assert load_encoder(spec.name).spec == spec
    assert load_encoder(name_of["pixels"], precision="bfloat16").spec.name == "reference/pixels"  # it has none
    typed = load_encoder(f"{name_of['timm']},precision=float32", precision="bfloat16").spec
    assert typed.precision == "float32"  # the typed option wins
    with pytest.raises(UsageError, match="There is no precision 'half'"):
        load_encoder(f"{name_of['timm']},precision=half")


DEFAULTS = {
    "open_clip": "pooling=projected,size=64,resize=64,precision=float32",
    "timm": "pooling=cls,size=160,resize=168,precision=float32",  # 160 / 0.95 = 168.4
    "dino": "key=,pooling=cls,size=224,resize=256,precision=float32",
    "bundled": "precision=float32",
}
OTHERS = {
    "open_clip": ["pooling=trunk", "size=96", "resize=65", "precision=bfloat16", "precision=float16"],
    "timm": ["pooling=mean", "pooling=cls+mean", "size=96", "resize=167", "precision=bfloat16", "precision=float16"],
    "dino": ["pooling=mean", "size=96", "resize=255", "precision=bfloat16"],
    "bundled": ["precision=bfloat16", "precision=float16"],
}


@pytest.mark.parametrize("family", DEFAULTS)
def test_a_typed_default_is_the_same_encoder(family: str, name_of: dict[str, str]) -> None:
    default = load_encoder(name_of[family]).spec.fingerprint
    typed = load_encoder(f"{name_of[family]},{DEFAULTS[family]}").spec
    assert typed.fingerprint == default and "=," not in typed.name


@pytest.mark.parametrize("family", OTHERS)
def test_an_option_that_changes_a_vector_is_another_encoder(family: str, name_of: dict[str, str]) -> None:
    names = [name_of[family], *(f"{name_of[family]},{option}" for option in OTHERS[family])]
    assert len({load_encoder(name).spec.fingerprint for name in names}) == len(names)


@pytest.mark.parametrize("family", ["open_clip", "timm", "dino"])
def test_a_crop_larger_than_the_picture_it_is_cut_from_is_refused(family: str, name_of: dict[str, str]) -> None:
    """It would have a black frame."""
    with pytest.raises(UsageError, match="resize=32"):
        load_encoder(f"{name_of[family]},resize=32")


def test_a_file_in_a_folder_named_after_settings_can_be_named(files: dict[str, Path], tmp_path: Path) -> None:
    """As Hydra names the folders of its runs."""
    run = tmp_path / "lr=0.1,seed=3"
    run.mkdir()
    file = (run / "weights.safetensors").resolve()
    file.write_bytes(files["test_vit"].read_bytes())
    for options in ("", ",size=96"):
        assert load_encoder(f"timm/test_vit:{file}{options}").spec.weights == str(file)


def test_a_name_without_a_model_is_a_sentence() -> None:
    for name in ("timm/", "timm/:x", "timm", "open_clip/:", "dino/:x.pth", "bundled/:"):
        with pytest.raises(UsageError, match="There is no encoder"):
            load_encoder(name)
