"""A vision transformer that knows the written word from its third block on is found out by the profile."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import network_encoder
from embprobe.encoders.layers import Trunk
from embprobe.encoders.network import NetworkEncoder
from embprobe.encoders.preprocessing import cropped
from embprobe.encoders.spec import ImageInput
from embprobe.encoders.towers.transformer import Block
from embprobe.images import Images
from embprobe.interventions import intervene
from embprobe.probing.card import bundled_card
from embprobe.probing.profiles import Profiled, run_profiles
from embprobe.probing.results import Results

SIDE, WIDTH, DEPTH = 32, 32, 6
WORDS = ("LEAST", "SLATE", "STALE", "STEAL")
INPUT = ImageInput(
    input_size=SIDE, resize="shortest", resize_to=SIDE, interpolation="bicubic", mean=(0,) * 3, std=(1,) * 3
)


class Step(nn.Module):
    """A block of a vision transformer that leaves the second token alone, and may add it to the class token."""

    def __init__(self, *, adds: bool) -> None:
        super().__init__()
        self.block, self.adds = Block(WIDTH, 2), adds

    def forward(self, tokens: Tensor) -> Tensor:
        mixed = self.block(torch.cat([tokens[:, :1], tokens[:, 2:]], 1))
        cls = mixed[:, :1] + (tokens[:, 1:2] if self.adds else 0)
        return torch.cat([cls, tokens[:, 1:2], mixed[:, 1:]], 1)


class Planted(nn.Module):
    """A vision transformer whose second token is the word that is written into an image, known by the image's bytes."""

    def __init__(self, known: dict[bytes, int], *, adds_at: int | None) -> None:
        super().__init__()
        self.known = known
        self.stem = nn.Conv2d(3, WIDTH, 16, 16)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.words = nn.Parameter(4 * torch.randn(len(WORDS) + 1, WIDTH))  # the last where no word is written
        self.blocks = nn.ModuleList(Step(adds=number == adds_at) for number in range(1, DEPTH + 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        words = torch.tensor([self.known.get(each.tobytes(), len(WORDS)) for each in pixels])
        patches = self.stem(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), self.words[words][:, None], patches], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 0]


def planted(known: dict[bytes, int], *, adds_at: int | None) -> NetworkEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Planted(known, adds_at=adds_at)
    return network_encoder(
        network,
        device="cpu",
        input_size=SIDE,
        mean=INPUT.mean,
        std=INPUT.std,
        pooling="cls",
        model=f"word-at-{adds_at}",
        trunk=Trunk(lambda network: list(network.blocks), prefix=2, has_class=True),
    )


@pytest.fixture(scope="module")
def profile(some_emoji: Images, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The anagram card by the layers of a network that adds the word at its third block, and of one that never does."""
    images = some_emoji.where(style=["noto"])
    known = {
        cropped(row.load(), INPUT).tobytes(): number
        for number, word in enumerate(WORDS)
        for row in intervene(images, f"word={word}", 1.0, seed=0).rows
    }
    session = Session(Workspace.open(tmp_path_factory.mktemp("depth")))
    networks = [Profiled.of(planted(known, adds_at=3)), Profiled.of(planted(known, adds_at=None))]
    (results,) = run_profiles([(bundled_card("text"), [])], images, networks, [], session)
    assert isinstance(results, Results)
    return results


def test_the_word_is_there_from_the_block_that_adds_it_on(profile: Results) -> None:
    rows = {row.key.layer: row for row in profile.rows if row.encoder == "python:word-at-3"}
    assert [layer for layer in rows if layer] == [1, 2, 3, 4, 5, 6] and None in rows
    before, after = [rows[i].estimate for i in (1, 2)], [rows[i].estimate for i in (3, 4, 5, 6)]
    assert max(before) < 0.2 and min(after) > 0.6, (before, after)  # of 0.75, for one of four words is guessed
    says = (
        r"tells anagrams .* apart from layer 3 of 6 on; half of its height is reached at layer 3 \(3 to 3, \d+ motifs\)"
    )
    assert re.search(says, profile.conclusions.sentences[0])
    assert profile.conclusions.sentences[1].startswith(
        "Highest in python:word-at-3, as chosen on half of the motifs, is"
    )


def test_a_network_that_never_knows_the_word_is_not_said_to(profile: Results) -> None:
    (sentence, _) = (line for line in profile.conclusions.sentences if "word-at-None" in line)
    assert sentence == "No layer of python:word-at-None surely tells anagrams written into an image apart."


def test_a_profile_is_saved_and_loaded_with_its_layers(profile: Results, workspace: Workspace) -> None:
    folder = profile.folder(workspace)
    profile.save(folder)
    again = Results.load(folder)
    assert again.rows == list(profile.rows) and again.conclusions == profile.conclusions
    assert again.manifest["layers"] == {
        f"python:word-at-{at}": {"depth": 6, "measured": [1, 2, 3, 4, 5, 6]} for at in (3, None)
    }
    assert [each.key.layer for each in again.scores] == [each.key.layer for each in profile.scores]
    assert again.to_frame()["layer"].max() == 6
