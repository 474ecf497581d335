"""Ray's engine: the same work, shard by shard, on the machines of a Ray cluster.

Every machine must see the images and weights under the names that were typed (a shared disk, a URL, a hub). Workers
open them for themselves and send back vectors; the process that runs the job writes the stores. A shard whose worker
dies is done again by another. Each worker works as the local engine does with one thread, so the bytes are the same.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import ray
import torch
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from embprobe.embeddings.engines import local
from embprobe.embeddings.job import Encoded, Job, Shard
from embprobe.encoders import load_encoders
from embprobe.encoders.spec import Decoding
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import open_images
from embprobe.images.reading import Reading

RETRIES = 3
"""How often a shard is tried again after its worker died."""
_AHEAD = 2
"""Shards that wait for each worker."""
_STATISTICS = "RAY_USAGE_STATS_ENABLED"


@dataclass(frozen=True)
class Order:
    """A job as it travels: names and fingerprints instead of images and networks."""

    folder: str
    """Where relative paths begin."""
    images: str
    reading: Reading
    rows: str
    encoders: tuple[str, ...]
    specs: tuple[str, ...]
    fast_decode: bool
    max_pixels: tuple[int, ...]
    """Of each encoder."""
    device: str
    batch_size: int


def run(job: Job) -> Generator[Encoded]:
    """Encode the shards of a job on a cluster; yields them as they come.

    Joins the cluster at ``RAY_ADDRESS``, or starts one on this machine.
    """
    order = _order(job)
    begun = not ray.is_initialized()
    if begun:
        with _usage_statistics_off():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = int(cluster.get("GPU", 0)) if order.device == "cuda" else 0
        if order.device == "cuda" and not gpus:
            raise UsageError("This Ray cluster has no GPU: use --device cpu.")
        cores = int(cluster.get("CPU", 1))
        each = max(1, cores // gpus) if gpus else 1
        task = ray.remote(num_cpus=each, num_gpus=1 if gpus else 0, max_retries=RETRIES)(encode_shard)
        todo, running = iter(job.shards), {}
        for _ in range(_AHEAD * (gpus or cores)):
            if (shard := next(todo, None)) is not None:
                running[task.remote(order, shard)] = shard
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            encoded = _result(ready, running.pop(ready))
            if (shard := next(todo, None)) is not None:
                running[task.remote(order, shard)] = shard
            job.progress(len(encoded.good) + len(encoded.rejected))
            yield encoded
    finally:
        if begun:
            ray.shutdown()  # a cluster that was there before is only left


@contextmanager
def _usage_statistics_off() -> Iterator[None]:
    """Let a cluster that is started report no usage to Ray's authors, unless the user's environment decides."""
    if _STATISTICS in os.environ:
        yield
        return
    os.environ[_STATISTICS] = "0"
    try:
        yield
    finally:
        del os.environ[_STATISTICS]


def encode_shard(order: Order, shard: Shard) -> Encoded:
    """Encode one shard in a worker, as the local engine does it."""
    (encoded,) = local.run(replace(_job(order), shards=[shard]))
    return encoded


def _order(job: Job) -> Order:
    if not job.images.opened_as:
        raise UsageError(f"Ray's workers cannot open '{job.images.name}' by a name: use the local engine.")
    if job.device.startswith("cuda:") or job.device == "mps":
        raise UsageError(f"Ray gives out GPUs itself: use --device cuda or --device cpu, not '{job.device}'.")
    return Order(
        str(Path.cwd()),
        job.images.opened_as,
        job.images.reading,
        job.images.fingerprint,
        tuple(encoder.spec.name for encoder in job.encoders),
        tuple(spec.fingerprint for spec in job.specs),
        any(spec.require_image_input().decoding == "fast" for spec in job.specs),
        tuple(spec.require_image_input().max_pixels for spec in job.specs),
        job.device,
        job.batch_size,
    )


@cache
def _job(order: Order) -> Job:
    """The images and encoders of an order, opened once in each worker."""
    if order.device == "cpu":
        torch.set_num_threads(1)
    os.chdir(order.folder)
    images = open_images(order.images, order.reading)
    if images.fingerprint != order.rows:
        raise EmbprobeError(f"'{order.images}' holds other images on this worker than where the work was asked for.")
    encoders = load_encoders(order.encoders, device=order.device)
    decoding: Decoding = "fast" if order.fast_decode else "exact"
    specs = [each.spec.with_decoding(decoding, most) for each, most in zip(encoders, order.max_pixels, strict=True)]
    for name, spec, wanted in zip(order.encoders, specs, order.specs, strict=True):
        if spec.fingerprint != wanted:
            raise EmbprobeError(f"'{name}' is another encoder on this worker than where the work was asked for.")
    return Job(images, encoders, specs, [], order.device, order.batch_size, lambda rows: None)


def _result(ready: ray.ObjectRef[Encoded], shard: Shard) -> Encoded:
    """The shard that a worker encoded; raises :class:`EmbprobeError` with the reason if it failed or died."""
    try:
        encoded: Encoded = ray.get(ready)
    except RayTaskError as error:
        if isinstance(error.cause, EmbprobeError):
            raise type(error.cause)(str(error.cause)) from None
        raise
    except (WorkerCrashedError, OutOfMemoryError) as error:
        rows = f"rows {shard.rows[0]:,} to {shard.rows[-1]:,}"
        raise EmbprobeError(f"Ray's workers died {RETRIES + 1} times on {rows} ({type(error).__name__}).") from None
    return encoded
