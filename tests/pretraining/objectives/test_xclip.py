from __future__ import annotations

import pytest
import torch

from embprobe.encoders.towers.two_towers import CLUSTERS
from embprobe.encoders.towers.vit import WIDTH
from embprobe.pretraining.objectives.clip import contrastive_loss
from embprobe.pretraining.objectives.nclip import clustering_loss_of_heads
from embprobe.pretraining.objectives.xclip import XClip
from tests.pretraining.conftest import CAPTIONS, built, views_of


def made() -> XClip:
    xclip = built("xclip")
    assert isinstance(xclip, XClip)
    return xclip


def test_the_loss_is_the_sum_of_clips_and_nclips_each_with_heads_of_its_own() -> None:
    xclip = made()
    (images,) = views_of(xclip)
    loss, numbers = xclip.loss(xclip([images], CAPTIONS))
    shown, said = xclip.encoder.vit(images), xclip.encoder.text_features(CAPTIONS)
    embedded = xclip.encoder.encode_images(images), xclip.encoder.encode_texts(CAPTIONS)
    contrast = contrastive_loss(*embedded, torch.tensor(1 / 0.07))
    logits = xclip.image_clusters(shown), xclip.text_clusters(said)
    clustering, terms = clustering_loss_of_heads(xclip.image_clusters, logits[0], xclip.text_clusters, logits[1])
    torch.testing.assert_close(loss, contrast + clustering)
    assert numbers == pytest.approx({"contrast": contrast.item(), **terms, "scale": 1 / 0.07}, rel=1e-4)
    assert embedded[0].shape[1] == WIDTH and xclip.image_clusters(shown).shape[1] == CLUSTERS


def test_the_heads_onto_clusters_are_not_kept_and_not_clips() -> None:
    xclip = made()
    assert not any("clusters" in name for name in xclip.encoder.state_dict())
    before = xclip.encoder.encode_texts(CAPTIONS)
    for head in (xclip.image_clusters, xclip.text_clusters):
        for value in head.parameters():
            value.data.zero_()
    assert torch.equal(xclip.encoder.encode_texts(CAPTIONS), before)
    _, numbers = xclip.loss(xclip(views_of(xclip), CAPTIONS))
    # every image and caption is in every cluster alike: agreement, sharpness and smoothness are log 256 = 5.5452
    assert [numbers[name] for name in ("agreement", "sharpness", "smoothness")] == pytest.approx(3 * [5.5452], abs=1e-3)


def test_the_inverse_temperature_stays_at_100_or_below() -> None:
    xclip = made()
    xclip.temperature.log_scale.data.fill_(9)
    xclip.after_step(0.5)
    assert xclip.temperature().item() == pytest.approx(100)
