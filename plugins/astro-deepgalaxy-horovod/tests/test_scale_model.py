"""The performance model against sums, closed forms and a simulation message by message."""

import heapq
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from astro_deepgalaxy_horovod.scale.allreduce import Layout, Link, gloo_ring, halving_doubling
from astro_deepgalaxy_horovod.scale.calibration import Allreduce, calibrate, predict
from astro_deepgalaxy_horovod.scale.compute_times import ComputeTimes, expected_largest_normal
from astro_deepgalaxy_horovod.scale.paper import EFFICIENCY
from astro_deepgalaxy_horovod.scale.performance_model import Costs, PerformanceModel
from astro_deepgalaxy_horovod.scale.projection import ADVICE, as_in_paper, project, worker_counts

FREE = Costs(call=0.0, hop=0.0, message=0.0, byte=0.0, copy=0.0)
COSTS = Costs(call=1e-4, hop=6e-5, message=2e-5, byte=4e-10, copy=2e-10, cycle=2e-4)


def _exponential(n=100_000):
    return ComputeTimes(-np.log1p(-(np.arange(n) + 0.5) / n))


def _model(**changes):
    model = PerformanceModel(
        ComputeTimes([0.5]), COSTS, nbytes=16_000_000, tensors=300, cycle_time=0.02
    )
    return replace(model, **changes)


@pytest.mark.parametrize("workers", [1, 2, 10, 100])
def test_slowest_of_many_exponential_times_is_a_harmonic_number(workers):
    expected = sum(1 / k for k in range(1, workers + 1))
    assert _exponential().largest(workers) == pytest.approx(expected, rel=0.01)


def test_slowest_of_many_times_that_were_measured():
    rng = np.random.default_rng(3)
    population = rng.gamma(4.0, size=200_000) + 10
    drawn = rng.choice(population, (4000, 8)).max(axis=1).mean()
    assert ComputeTimes(population[:2000]).largest(8) == pytest.approx(drawn, rel=0.01)


def test_delays_beyond_the_measured_ones_are_met_by_many_workers():
    rng = np.random.default_rng(4)
    few = ComputeTimes(1 + 0.1 * rng.exponential(size=300))
    expected = 1 + 0.1 * sum(1 / k for k in range(1, 1025))
    assert few.largest(1024) == pytest.approx(expected, rel=0.05)
    assert few.seconds[-1] < few.largest(1024)


def test_equal_times_have_no_stragglers():
    times = ComputeTimes([0.5, 0.5, 0.5])
    assert times.largest(1000) == 0.5
    np.testing.assert_array_equal(times.draw(7, np.random.default_rng(0)), 0.5)


def test_drawn_times_have_the_distribution():
    times = _exponential(1000)
    drawn = times.draw(100_000, np.random.default_rng(5))
    assert np.mean(drawn > 1) == pytest.approx(np.exp(-1), abs=0.01)
    assert np.mean(drawn > 4) == pytest.approx(np.exp(-4), rel=0.1)


@pytest.mark.parametrize("wrong", [[], [1.0, 0.0], [np.nan]])
def test_times_that_are_none(wrong):
    with pytest.raises(ValueError, match="compute times"):
        ComputeTimes(wrong)


def test_largest_of_normal_numbers():
    drawn = np.random.default_rng(6).standard_normal((20_000, 50)).max(axis=1).mean()
    assert expected_largest_normal(50) == pytest.approx(drawn, rel=0.01)
    assert expected_largest_normal(1) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("workers", [2, 3, 8, 32])
def test_ring_makes_the_transfers_of_every_ring(workers):
    nbytes = 1_000 * workers * 2
    end, _ = gloo_ring(nbytes, Layout(workers, 1, Link(1e9)), hop=0.0)
    assert end.max() == pytest.approx(2 * (workers - 1) / workers * 8 * nbytes / 1e9)


@pytest.mark.parametrize("workers", [2, 3, 8, 32])
def test_ring_waits_for_announcements_as_well_as_for_segments(workers):
    nbytes = 1_000 * workers * 2
    end, messages = gloo_ring(nbytes, Layout(workers, 1, Link(latency=1e-3)), hop=0.0)
    assert end.max() == pytest.approx(4 * (workers - 1) * 1e-3)
    assert messages == 2 * 2 * (workers - 1)


def test_a_single_number_goes_around_the_ring_twice():
    end, messages = gloo_ring(8, Layout(6, 1, Link(latency=1e-3)), hop=0.0, item=8)
    assert end.max() == pytest.approx(11e-3)  # 5 hops, an announcement, 5 hops
    assert messages == pytest.approx(2 * 5 / 6)


@pytest.mark.parametrize(
    ("workers", "per_host", "link", "nbytes"),
    [
        (2, 1, Link(1e9, 1e-3), 16_000_000),
        (4, 1, Link(1e9, 1e-3), 400_000),
        (4, 1, Link(3e8, 2e-4), 16_000_000),
        (5, 1, Link(1e10, 1e-5), 123_456),
        (8, 2, Link(1e9, 2e-4), 16_000_000),
        (8, 4, Link(1e9, 2e-3), 4_000_000),
        (16, 4, Link(2e9, 1e-4), 16_000_000),
    ],
)
def test_ring_against_a_simulation_of_every_message(workers, per_host, link, nbytes):
    end, _ = gloo_ring(nbytes, Layout(workers, per_host, link), hop=9e-5)
    assert end.max() == pytest.approx(_simulate(nbytes, workers, per_host, link, 9e-5), rel=0.05)


def test_halving_and_doubling_has_few_rounds():
    end, messages = halving_doubling(1_000_000, Layout(64, 1, Link(1e9, 1e-3)), hop=0.0)
    transfers = 2 * 63 / 64 * 8 * 1_000_000 / 1e9
    assert end.max() == pytest.approx(2 * 6 * 1e-3 + transfers)
    assert messages == 12


def test_workers_of_a_host_share_its_cable():
    one, _ = halving_doubling(1_000_000, Layout(16, 1, Link(1e9)), hop=0.0)
    four, _ = halving_doubling(1_000_000, Layout(16, 4, Link(1e9)), hop=0.0)
    # Of the halves 1/2, 1/4, 1/8, 1/16 the first two leave the host, four workers' at once.
    assert four.max() / one.max() == pytest.approx(4 * (1 / 2 + 1 / 4) / (15 / 16))


def test_a_worker_alone_waits_for_the_cycle_and_the_copies():
    parts = _model().step(Layout(1, 1))
    assert parts.agreement == 0
    assert parts.cycle == pytest.approx(0.01)
    assert parts.allreduce == pytest.approx(1e-4 + 16_000_000 * 2e-10)
    assert parts.thread == pytest.approx(0.5 * 2e-4 / 0.02)
    assert parts.total == pytest.approx(0.5 + 0.01 + 0.0033 + 0.005)


def test_free_communication_leaves_the_cycle():
    parts = _model(costs=FREE).step(Layout(64, 4))
    assert parts.total == pytest.approx(0.5 + 0.01)


def test_slow_agreement_is_a_longer_cycle():
    cycle, agreement, _ = _model(costs=FREE).exchange(Layout(32, 1, Link(latency=1e-3)))
    assert agreement > 0.03
    assert cycle > 0.012  # one begins when the last is over, not after the cycle time


def test_step_waits_for_the_images():
    parts = _model(input_seconds=2.0).step(Layout(4, 4))
    assert parts.total == pytest.approx(2.0)
    assert parts.limit(_model().step(Layout(4, 4))) == "input"
    assert _model(input_seconds=0.1).step(Layout(4, 4)).input == 0


def test_hosts_of_different_speed():
    model = _model(costs=FREE, host_spread=0.05)
    parts = model.step(Layout(64, 4))
    assert parts.stragglers == pytest.approx(0.5 * 0.05 * expected_largest_normal(16))
    assert model.step(Layout(4, 4)).stragglers == pytest.approx(0, abs=1e-9)


def test_workers_that_share_cores_take_turns():
    own = _model().exchange(Layout(8, 8))[2]
    shared = _model().exchange(Layout(8, 8, shared_cores=2))[2]
    assert shared > 2 * own


def test_calibration_finds_the_costs_that_were_put_in():
    costs = Costs(call=2e-4, hop=5e-5, message=1e-5, byte=5e-10, copy=3e-10)
    measured = [
        Allreduce(Layout(w, w, shared_cores=2), n, 20, 1e-3, 0.0)
        for w in (2, 4, 8)
        for n in (4_000, 400_000, 4_000_000, 16_000_000)
    ]
    measured = [replace(m, seconds=predict(m, costs)) for m in measured]
    found, _, error = calibrate(measured)
    assert error < 0.01
    unseen = Allreduce(Layout(16, 16, shared_cores=2), 8_000_000, 20, 1e-3, 0.0)
    assert predict(unseen, found) == pytest.approx(predict(unseen, costs), rel=0.05)
    assert found.byte == pytest.approx(costs.byte, rel=0.2)


def test_calibration_finds_the_network_between_hosts():
    link = Link(4e9, 3e-4)
    known = [
        Allreduce(Layout(w, 2, link), n, 20, 1e-3, 0.0)
        for w in (4, 8)
        for n in (4_000, 400_000, 16_000_000)
    ]
    measured = [
        replace(m, seconds=predict(m, COSTS), layout=replace(m.layout, between=Link()))
        for m in known
    ]
    _, found, error = calibrate(measured, COSTS)
    assert error < 0.01
    assert found.bandwidth == pytest.approx(link.bandwidth, rel=0.05)
    assert found.latency == pytest.approx(link.latency, rel=0.05)


def test_projection_is_labelled_and_says_what_limits():
    model = _model(compute=ComputeTimes(0.5 + 0.001 * np.arange(20)))
    rows = project(model, 4, Link(1e11, 2e-6), [4, 64, 256])
    assert [row["kind"] for row in rows] == ["projected"] * 3
    assert rows[0]["efficiency"] == 1
    assert rows[0]["efficiency"] > rows[1]["efficiency"] > rows[2]["efficiency"]
    assert [row["limit"] in ADVICE for row in rows] == [False, True, True]
    assert rows[2]["limit"] == "latency"
    assert project(model, 4, Link(1e8, 2e-6), [64])[0]["limit"] == "bandwidth"
    parts = [value for name, value in rows[1].items() if name.endswith("_s") and name != "step_s"]
    assert sum(parts) == pytest.approx(rows[1]["step_s"])


def test_larger_images_scale_better():
    model = _model()
    there = as_in_paper(model, pixels=96, batch=32)
    assert there.compute.mean == pytest.approx(0.5 * (1024 / 96) ** 2 / 4)
    large = project(there, 4, Link(1e11, 2e-6), [512])[0]
    assert large["efficiency"] > project(model, 4, Link(1e11, 2e-6), [512])[0]["efficiency"]
    assert EFFICIENCY[4] == 1


def test_numbers_of_workers_double():
    assert worker_counts(4, 1024) == [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert worker_counts(3, 11) == [3, 6]


def _simulate(nbytes, workers, per_host, link, hop):
    """Time of the ring: an event for every message, and cables serve whoever comes first."""
    each = max(2, ceil(nbytes / 2**20 / workers))
    segments = each * workers
    size = 4 * ceil(nbytes / segments / 4)
    in_phase = segments - each
    free = [0.0] * (workers // per_host)
    events, numbers = [], iter(range(10**9))
    place = [0] * workers
    asked, told, sent, arrived = ([set() for _ in range(workers)] for _ in range(4))
    ends = {}

    def travel(now, source, goal, length, *what):
        here, there = source // per_host, goal // per_host
        if here != there:
            now = free[here] = max(now, free[here]) + 8 * length / link.bandwidth
            now += link.latency
        heapq.heappush(events, (now + hop, next(numbers), goal, *what))

    def send(now, rank, key):
        if key in asked[rank] and key in told[rank] and key not in sent[rank]:
            sent[rank].add(key)
            phase, i = key
            offset = (((rank + 1 - phase) * each + i) % segments) * size
            length = max(0, min(size, nbytes - offset))
            travel(now, rank, (rank - 1) % workers, length, "segment", key)

    def go_on(now, rank):
        while place[rank] < 2 * (in_phase + 2):
            phase, i = divmod(place[rank], in_phase + 2)
            earlier = (phase, i - 2)
            if i >= 2 and not (earlier in arrived[rank] and earlier in sent[rank]):
                return
            place[rank] += 1
            if i < in_phase:
                travel(now, rank, (rank + 1) % workers, 0, "announcement", (phase, i))
                asked[rank].add((phase, i))
                send(now, rank, (phase, i))
        ends.setdefault(rank, now)

    for rank in range(workers):
        go_on(0.0, rank)
    while events:
        now, _, rank, what, key = heapq.heappop(events)
        (told if what == "announcement" else arrived)[rank].add(key)
        send(now, rank, key)
        go_on(now, rank)
    return max(ends.values())
