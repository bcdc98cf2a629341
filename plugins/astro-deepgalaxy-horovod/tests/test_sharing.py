"""Who takes which images: without any process being started."""

from dataclasses import replace

import numpy as np
import pytest
from astro_deepgalaxy_horovod.settings import Settings
from astro_deepgalaxy_horovod.sharing import Sharing
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from astro_deepgalaxy.store.joined import open_stores
from astro_deepgalaxy.store.loader import batches, epoch_rows
from astro_deepgalaxy.trainers.local import training_data


class Labels:
    """A store as far as sharing needs one."""

    path, image_shape = "labels", (8, 8, 1)

    def __init__(self, n, shard_rows):
        from astropy import units as u
        from astropy.table import QTable

        self.shard_rows = shard_rows
        time = np.where(np.arange(n) % 3 == 1, np.nan, np.linspace(-100, 400, n))
        self.table = QTable(
            {"time_since_pericentre": time * u.Myr, "mass_ratio": np.linspace(0.1, 1, n)}
        )


@pytest.fixture(scope="module")
def plan_job(store):
    from astro_deepgalaxy.store import TimeTarget, ValueTarget
    from astro_deepgalaxy.trainers import TrainingJob

    def make(n, batch_size, unlabelled=0):
        rows = {"train": list(range(n - unlabelled)), "unlabelled": list(range(n - unlabelled, n))}
        return TrainingJob(
            network={},
            store="",
            rows=rows if unlabelled else {"train": rows["train"]},
            targets={
                "time_class": TimeTarget().to_dict(),
                "mass_ratio": ValueTarget("mass_ratio").to_dict(),
            },
            checkpoint="",
            epochs=4,
            batch_size=batch_size,
            seed=2,
        )

    return make


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 90),
    extra=st.integers(0, 30),
    shard_rows=st.integers(1, 40),
    workers=st.integers(1, 7),
    batch_size=st.integers(1, 20),
    data=st.sampled_from(["all", "shards"]),
    every=st.sampled_from([None, 1, 2]),
)
def test_every_image_comes_once_in_an_epoch(
    plan_job, n, extra, shard_rows, workers, batch_size, data, every
):
    if n < workers:
        return
    job = plan_job(n + extra, batch_size, extra)
    options = Settings(data=data, reshuffle_every=every if data == "shards" else None)
    sharing = Sharing(Labels(n + extra, shard_rows), job, options, workers)
    for epoch in (0, 1, 2):
        plan = sharing.epoch(epoch)
        assert len(plan.parts) == sharing.steps
        assert plan.counts.shape == (sharing.steps, workers)
        assert plan.counts.max() <= batch_size
        rows = np.concatenate([sharing.images(epoch, step) for step in range(sharing.steps)])
        assert sorted(rows) == list(range(n + extra))
        assert plan.counts.sum() == n + extra


def test_the_scale_gives_the_mean_over_all_that_have_the_label(plan_job):
    job, labels = plan_job(50, 6), Labels(50, 8)
    sharing = Sharing(labels, job, Settings(data="shards"), 3)
    known = np.isfinite(labels.table["time_since_pericentre"])
    for step in range(sharing.steps):
        rows = sharing.images(0, step)
        expected = [1 / known[rows].sum(), 1 / len(rows)]
        assert sharing.epoch(0).scales[step] == pytest.approx(expected)


def test_a_share_is_of_few_shards(plan_job):
    sharing = Sharing(Labels(80, 10), plan_job(80, 4), Settings(data="shards"), 4)
    for rank in range(4):
        assert len(np.unique(sharing.share(rank, 0).rows // 10)) == 2


def test_shares_are_kept_or_dealt_anew(plan_job):
    def rows(options, epoch):
        sharing = Sharing(Labels(80, 10), plan_job(80, 4), Settings(**options), 4)
        return sharing.share(1, epoch).rows.tolist()

    kept = {"data": "shards"}
    anew = kept | {"reshuffle_every": 2}
    assert rows(kept, 0) == rows(kept, 7)
    assert rows(anew, 0) == rows(anew, 1)
    assert rows(anew, 1) != rows(anew, 2)


def test_all_workers_together_take_the_batches_of_one(job, store):
    opened = open_stores(job.store)
    sharing = Sharing(opened, job, Settings(), 3)
    rows, options = training_data(replace(job, batch_size=24))
    order = {name: value for name, value in options.items() if name != "augment"}
    expected = epoch_rows(opened, rows, epoch=1, **order)
    found = [sharing.images(1, step) for step in range(sharing.steps)]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    one = list(batches(opened, rows, epochs=range(1, 2), **options))
    parts = [list(sharing.stream(rank, 1, 0, 2)) for rank in range(3)]
    for step, (images, values, _) in enumerate(one):
        joined = np.concatenate([part[step][0] for part in parts])
        np.testing.assert_allclose(joined, images, atol=1e-6)  # with their augmentation
        for name in values:
            of_all = np.concatenate([part[step][1][name] for part in parts])
            np.testing.assert_array_equal(of_all, values[name])


def test_a_stream_goes_on_in_the_middle_of_an_epoch(job):
    sharing = Sharing(open_stores(job.store), job, Settings(data="shards"), 2)
    whole = [images.numpy() for images, _, _ in sharing.stream(1, 0, 0, 2)]
    rest = [images.numpy() for images, _, _ in sharing.stream(1, 0, 2, 2)]
    assert len(whole) == 2 * sharing.steps
    for mine, theirs in zip(rest, whole[2:], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_position_of_other_workers_is_taken_back_to_a_step(plan_job):
    """Fewer workers take smaller steps: what is left over of one is taken again."""
    from types import SimpleNamespace

    from astro_deepgalaxy_horovod.checkpoint import Position
    from astro_deepgalaxy_horovod.training import Training

    job, labels = plan_job(50, 8), Labels(50, 8)
    for before, workers, images, first in ((4, 3, 32, 24), (3, 2, 48, 48), (3, 2, 24, 16)):
        assert (
            Sharing(labels, job, Settings(), before)
            .epoch(1)
            .counts.sum(axis=1)
            .cumsum()[images // (8 * before) - 1]
            == images
        )
        training = SimpleNamespace(
            sharing=Sharing(labels, job, Settings(), workers),
            position=Position(epoch=1, images=images, sums=[2.0 * images]),
        )
        training._first_step = lambda t=training: Training._first_step(t)
        Training._begin_at_a_step(training)
        assert training.position.images == first
        assert training.position.sums == [2.0 * first]
        assert training._first_step() * 8 * workers == first
