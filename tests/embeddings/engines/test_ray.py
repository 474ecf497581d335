"""Ray's engine on a local cluster of two workers: the bytes of the local engine, and a lost worker costs its shard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from embprobe.embeddings.engines import ray as engine
from embprobe.embeddings.extract import extract
from embprobe.embeddings.store import Store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from tests.conftest import make_encoder, noise

ENCODERS = ("bundled/dino", "reference/pixels")

MORTAL = """
import os
from pathlib import Path

from torch import nn

from embprobe.encoders import network_encoder

SEEN = Path({folder!r})


def means(network, batch):
    if (SEEN / "armed").exists() and len(batch) > 1:
        before = len(list(SEEN.iterdir())) - 1
        (SEEN / f"{{before}}").touch()
        if before < {deaths}:
            os.kill(os.getpid(), 9)
    return batch.mean((2, 3))


def dies(device):
    return network_encoder(
        nn.Identity(), device=device, input_size=8, mean=(0, 0, 0), std=(1, 1, 1), pooling="none", image=means
    )
"""


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Images:
    """24 images, one of them torn, in shards of eight."""
    monkeypatch.setattr("embprobe.embeddings.store.SHARD_ROWS", 8)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(24):
        noise(i, (20 + i, 40)).save(folder / f"{i:02d}.png")
    (folder / "11.png").write_bytes(b"torn")
    return load_images(str(folder))


def files(store: Store) -> dict[str, bytes]:
    """All but the manifest, which holds times."""
    found = (path for path in store.folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(store.folder)): path.read_bytes() for path in found}


def test_the_bytes_are_those_of_the_local_engine(photos: Images, tmp_path: Path) -> None:
    encoders = [load_encoder(name) for name in ENCODERS]
    done: list[int] = []
    ours = extract(photos, encoders, Workspace.open(tmp_path / "local"), batch_size=3)
    theirs = extract(
        photos, encoders, Workspace.open(tmp_path / "ray"), batch_size=3, engine=engine.run, progress=done.append
    )
    for a, b in zip(ours, theirs, strict=True):
        assert len(files(a)) == 3 + 3 + 3 + 1 and files(a) == files(b)
        assert [row.key for row in b.rejected] == ["11.png"]
        assert sum(facts.rows for facts in b.shards.values()) == 23
        assert b.seconds["encode"] > 0
    assert sorted(done) == [8, 8, 8]


def test_only_the_missing_shards_travel(photos: Images, workspace: Workspace) -> None:
    encoder = load_encoder("reference/pixels")
    (store,) = extract(photos, [encoder], workspace)
    whole = files(store)
    (store.folder / "img_emb" / "img_emb_00001.npy").unlink()
    (again,) = extract(photos, [encoder], workspace, engine=engine.run)
    assert again.written == 7 and again.lost == [1] and files(again) == whole


def mortal(folder: Path, deaths: int) -> Path:
    """A module with an encoder that, once armed, kills its process so many times; gives the file that arms it."""
    seen = folder / "seen"
    seen.mkdir()
    (folder / f"mortal{deaths}.py").write_text(MORTAL.format(folder=str(seen), deaths=deaths))
    return seen / "armed"


def test_a_lost_worker_costs_only_its_shard(
    photos: Images, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed = mortal(tmp_path, deaths=1)
    monkeypatch.chdir(tmp_path)
    encoder = load_encoder("python:mortal1:dies")
    (local,) = extract(photos, [encoder], Workspace.open(tmp_path / "local"))
    armed.touch()
    (store,) = extract(photos, [encoder], workspace, engine=engine.run)
    assert len(list(armed.parent.iterdir())) - 1 == 1 + 3  # the death, and each of the three shards once
    assert files(store) == files(local)


def test_a_shard_that_kills_every_worker_is_named(
    photos: Images, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed = mortal(tmp_path, deaths=99)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "RETRIES", 1)
    encoder = load_encoder("python:mortal99:dies")
    armed.touch()
    with pytest.raises(EmbprobeError, match=r"Ray's workers died 2 times on rows \d+ to \d+ \(WorkerCrashedError\)"):
        extract(photos, [encoder], workspace, engine=engine.run)


def test_what_has_no_name_cannot_travel(photos: Images, workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="cannot open 'photos.*' by a name: use the local engine"):
        extract(photos.take(range(4)), [load_encoder("reference/pixels")], workspace, engine=engine.run)


def test_an_encoder_that_the_workers_do_not_have_is_named(photos: Images, workspace: Workspace) -> None:
    with pytest.raises(EmbprobeError, match="There is no encoder 'test/means'"):
        extract(photos, [make_encoder()], workspace, engine=engine.run)


def test_other_images_on_the_workers_are_refused(photos: Images, workspace: Workspace) -> None:
    changed = replace(photos, rows=photos.rows[:-1])
    with pytest.raises(EmbprobeError, match="holds other images on this worker"):
        extract(changed, [load_encoder("reference/pixels")], workspace, engine=engine.run)


@pytest.mark.parametrize(("before", "inside"), [(None, "0"), ("1", "1")])
def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch, before: str | None, inside: str) -> None:
    name = "RAY_USAGE_STATS_ENABLED"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    with engine._usage_statistics_off():
        assert os.environ[name] == inside
    assert os.environ.get(name) == before
