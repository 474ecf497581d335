"""The studies' encoders by short names: each is the encoder that the card says, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import embprobe.cli.app
from embprobe.embeddings.extract import encode
from embprobe.encoders import Listing, describe_encoder, list_encoders, list_families, load_encoder
from embprobe.encoders.families import study
from embprobe.encoders.families.study import EncoderCard
from embprobe.encoders.registry import Name
from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.models import parse_card
from tests.encoders.conftest import PICTURES, Put, open_clip_folder, untrained
from tests.encoders.families.test_dino import checkpoint
from tests.encoders.families.test_transformers import CLIPS_FEED, save_model
from tests.encoders.families.vision_transformer import weights


def entry(name: str, encoder: str, **more: str) -> str:
    """Return one encoder of a card, in TOML."""
    values = {"name": name, "title": "T", "encoder": encoder, "paper": "P", "licence": "L", "known": "K"} | more
    return "[[encoder]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def parse_entries(*entries: str) -> EncoderCard:
    """Parse a card of these entries."""
    return parse_card(EncoderCard, 'schema = 1\nremark = "R"\n' + "".join(entries), "mine.toml")


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a card of DINO's smallest transformer, which a checkpoint may give, and of an encoder without checkpoints."""
    card = parse_entries(
        entry("dino", "transformers/hf-hub:owner/dino", checkpoint="dino/vit_tiny"), entry("plain", "timm/test_vit")
    )
    monkeypatch.setattr(study, "card", lambda: card)


# --- the card --------------------------------------------------------------------------------------------------------


def test_every_encoder_of_the_card_is_one_that_its_family_knows() -> None:
    """Without this test, a typo in a name, a tag or an option would only show with a network."""
    known = list_encoders("*")
    for entry in study.card().encoders:
        for full in filter(None, (entry.encoder, entry.checkpoint)):
            parts = Name.parse(full)
            assert parts.family in set(list_families()) - {"study"}, entry.name
            bare_name = f"{parts.family}/{parts.model}" + (f":{parts.weights}" if parts.weights else "")
            place = parts.model == "hf-hub" and parts.weights.count("/") == 1
            architecture = full == entry.checkpoint and any(name.startswith(f"{bare_name}:") for name in known)
            assert place or architecture or bare_name in known, (entry.name, full)
        assert entry.known.endswith(".") and (not entry.unknown or entry.unknown.endswith(".")), entry.name


def test_the_card_has_the_studys_seven_encoders() -> None:
    study_encoders = [entry for entry in study.card().encoders if "Leonardo6" in entry.encoder]
    assert {entry.name: entry.encoder.partition(":")[2] for entry in study_encoders} == {
        "clip": "Leonardo6/clip-datacomp-12m-16",
        "dino": "Leonardo6/dino-datacomp-12m-16",
        "siglip": "Leonardo6/siglip-datacomp-12m-16",
        "clip-roberta4": "Leonardo6/clip-roberta4-datacomp-12m-16",
        "clip-roberta10": "Leonardo6/clip-roberta10-datacomp-12m-16",
        "clip-vicuna": "Leonardo6/clip-vicuna",
        "clip-32": "Leonardo6/clip-datacomp-12m-32",
    }


def test_descriptions_are_those_of_the_card() -> None:
    listed = {name: describe_encoder(name) for name in list_encoders("study/*")}
    assert list(listed) == [f"study/{entry.name}" for entry in study.card().encoders]
    dino = listed["study/dino"]
    assert dino.weights == "DINO ViT-B/16 on 10M of DataComp-12M: transformers/hf-hub:Leonardo6/dino-datacomp-12m-16"
    assert dino.notes.startswith("arXiv 2510.11835; licence: not known. ") and "Not known: " in dino.notes
    assert all(listing.notes.endswith(study.card().remark) for listing in listed.values())
    # sizes of the others come from their own libraries; but DINOv2 is fed 224 pixels here, not timm's 518
    public = listed["study/public-clip"]
    assert (public.dimension, public.input_size, public.has_text) == (512, 224, True)
    assert (listed["study/public-dinov2"].dimension, listed["study/public-dinov2"].input_size) == (768, 224)


def test_a_whole_name_lists_that_one_with_its_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``study/clip`` is also the beginning of others' names."""
    monkeypatch.setattr(sys, "argv", ["embprobe", "encoders", "study/clip"])
    with pytest.raises(SystemExit) as ended:
        embprobe.cli.app.main()
    printed = capsys.readouterr()
    assert ended.value.code == 0 and len(printed.out.splitlines()) == 2  # the headings, and one encoder
    assert "arXiv 2510.11835; licence: MIT." in printed.err and "Not known: whether the activation" in printed.err


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("a", "timm/x"), entry("a", "timm/y")], "'a' names two encoders"),
        ([entry("a", "study/a")], "another family"),
        ([entry("../a", "timm/x")], "encoder.0.name"),
        ([entry("a", "timm/x", speed="fast")], "'encoder.0.speed': there is no such key"),
        ([entry("a", "timm/x").replace("licence", "license")], "'encoder.0.licence': this key is missing"),
        ([], "'encoder': this key is missing"),
    ],
)
def test_an_invalid_card_is_a_sentence(entries: list[str], message: str) -> None:
    with pytest.raises(EmbprobeError, match=message):
        parse_entries(*entries)


# --- short names -----------------------------------------------------------------------------------------------------


def test_a_short_name_is_the_encoder_it_stands_for_and_bears_its_name(tmp_path: Path, hub: Put) -> None:
    """So a store made under either name serves the other, and a result names the encoder that was measured."""
    pytest.importorskip("transformers")
    hub("Leonardo6/clip-datacomp-12m-16", save_model("clip_vision_model", tmp_path / "clip", CLIPS_FEED))
    hub("Leonardo6/dino-datacomp-12m-16", save_model("vit", tmp_path / "dino", CLIPS_FEED))
    for name in ("clip", "dino"):
        full = f"transformers/hf-hub:Leonardo6/{name}-datacomp-12m-16"
        short, long = load_encoder(f"study/{name}"), load_encoder(full)
        assert short.spec == long.spec and short.spec.name == full
        assert np.array_equal(encode(short, PICTURES), encode(long, PICTURES))
        assert load_encoder(f"study/{name},pooling=mean").spec == load_encoder(f"{full},pooling=mean").spec
        assert load_encoder(f"study/{name}", precision="bfloat16").spec.precision == "bfloat16"
    with pytest.raises(UsageError, match="'transformers' has no option 'poling'; .* Did you mean 'pooling'"):
        load_encoder("study/clip,poling=mean")


def test_typed_options_come_before_those_of_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "vit.safetensors"
    save_file(untrained(timm.create_model("test_vit")).state_dict(), file)
    card = parse_entries(entry("vit", f"timm/test_vit:{file},size=96,pooling=mean"))
    monkeypatch.setattr(study, "card", lambda: card)
    assert load_encoder("study/vit").spec.name == f"timm/test_vit:{file},pooling=mean,size=96"
    assert load_encoder("study/vit,size=64").spec.name == f"timm/test_vit:{file},pooling=mean,size=64"


# --- copies ----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_as_dinos_code_writes_it(tmp_path: Path, named: None) -> None:
    """Student, teacher, heads, optimizer and arguments in one file: the teacher's backbone is the encoder."""
    file = tmp_path / "checkpoint.pth"
    torch.save(checkpoint(weights(16), weights(16, seed=1)), file)
    loaded, expected = load_encoder(f"study/dino:{file}"), load_encoder(f"dino/vit_tiny:{file}")
    assert loaded.spec == expected.spec and loaded.spec.name == f"dino/vit_tiny:{file}"
    assert np.array_equal(encode(loaded, PICTURES[:2]), encode(expected, PICTURES[:2]))
    student = load_encoder(f"study/dino:{file},key=student")
    assert student.spec.fingerprint != loaded.spec.fingerprint


def test_a_checkpoint_as_open_clips_code_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one is a ViT-B/16; the smallest of open_clip's own architectures stands for it."""
    import open_clip

    from tests.encoders.conftest import CONFIGS

    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit", CONFIGS["vit"])
    folder = open_clip_folder("vit", tmp_path / "vit")
    model = open_clip.create_model(f"local-dir:{folder}")
    file = tmp_path / "epoch_20.pt"
    torch.save({"epoch": 20, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, file)
    card = parse_entries(entry("clip", "transformers/hf-hub:owner/clip", checkpoint="open_clip/tiny-vit"))
    monkeypatch.setattr(study, "card", lambda: card)
    loaded = load_encoder(f"study/clip:{file}")
    assert loaded.spec == load_encoder(f"open_clip/tiny-vit:{file}").spec and loaded.spec.has_text
    assert np.array_equal(encode(loaded, PICTURES), encode(load_encoder(f"open_clip/local-dir:{folder}"), PICTURES))


def test_a_folder_is_a_copy_of_the_repository(tmp_path: Path, named: None) -> None:
    pytest.importorskip("transformers")
    folder = save_model("vit", tmp_path / "dino", CLIPS_FEED)
    assert load_encoder(f"study/dino:{folder}").spec == load_encoder(f"transformers/local-dir:{folder}").spec


def test_copies_that_cannot_be_are_a_sentence(tmp_path: Path, named: None) -> None:
    file = tmp_path / "weights.pth"
    file.touch()
    with pytest.raises(UsageError, match="There is no file or folder 'nowhere.pth'"):
        load_encoder("study/dino:nowhere.pth")
    with pytest.raises(UsageError, match=f"'study/plain' takes a folder, not the file '{file}'"):
        load_encoder(f"study/plain:{file}")


def test_without_a_network_one_sentence_names_a_way(offline: None) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(EmbprobeError) as failed:
        load_encoder("study/dino")
    assert str(failed.value) == (
        "The weights of 'transformers/hf-hub:Leonardo6/dino-datacomp-12m-16' could not be fetched. "
        "Without a network, give a folder: 'transformers/local-dir:FOLDER'."
    )


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="There is no encoder 'study/dyno'. Did you mean study/dino"):
        load_encoder("study/dyno")
    assert describe_encoder("study/clip") != Listing("study/clip")
