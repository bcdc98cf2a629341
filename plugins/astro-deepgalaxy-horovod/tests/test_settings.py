import pytest
from astro_deepgalaxy_horovod.about import check_alike
from astro_deepgalaxy_horovod.places import check_hosts, places
from astro_deepgalaxy_horovod.settings import Settings, available_cores
from astro_deepgalaxy_horovod.tuning import horovod_environment


def test_places_fill_the_hosts_in_order():
    found = places(Settings(workers=5, hosts="a:2,b:4"))
    assert [(p.rank, p.host, p.slot, p.slots) for p in found] == [
        (0, "a", 0, 2),
        (1, "a", 1, 2),
        (2, "b", 0, 3),
        (3, "b", 1, 3),
        (4, "b", 2, 3),
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "workers: must be at least 1"),
        ({"worker": 2}, "no option worker"),
        ({"hosts": "a:2,,b"}, "is not a host once"),
        ({"hosts": "a:2,a:3"}, "is not a host once"),
        ({"hosts": "a b"}, "is not a host once"),
        ({"hosts": "-oProxyCommand=x:1"}, "is not a host once"),
        ({"workers": 7, "hosts": "a:2,b:4"}, "has slots for 6"),
        ({"data": "some"}, "not one of all, shards"),
        ({"reshuffle_every": 2}, "set data = 'shards'"),
        ({"elastic": True, "controller": "mpi"}, "needs Gloo"),
        ({"elastic": True, "cycle_time": 5.0}, "elastic: without cycle_time"),
        ({"stall_seconds": True}, "stall_seconds: must be int; got True"),
        ({"workers": "2"}, "workers: must be int | None; got '2'"),
        ({"workers": 1.5}, "workers: must be int | None; got 1.5"),
        ({"elastic": "false"}, "elastic: must be bool; got 'false'"),
        ({"hosts": ["a"]}, "hosts: must be str | None"),
    ],
)
def test_wrong_options_are_refused(options, sentence):
    with pytest.raises(ValueError) as error:
        Settings.from_options(options)
    assert sentence in str(error.value)


def test_more_workers_than_cores():
    settings = Settings(workers=len(available_cores()) + 1)
    with pytest.raises(ValueError, match="to use; ask for at most"):
        check_hosts(places(settings), settings)
    settings = Settings(workers=1, cores=len(available_cores()) + 1)
    with pytest.raises(ValueError, match=r"need \d+ cores, but localhost has \d+"):
        check_hosts(places(settings), settings)


def test_each_worker_has_cores_of_its_own():
    found = places(Settings(workers=3, hosts="localhost:3"))
    assert [p.cores([4, 5, 6, 7, 8, 9]) for p in found] == [[4, 5], [6, 7], [8, 9]]
    assert [p.cores([4, 5, 6, 7, 8, 9], 1) for p in found] == [[4], [5], [6]]


def test_a_host_that_cannot_be_reached(ssh_here):
    settings = Settings(hosts="localhost:1,127.0.0.9:1")
    with pytest.raises(ValueError, match=r"127\.0\.0\.9: cannot run .*: Connection refused"):
        check_hosts(places(settings), settings)


@pytest.mark.horovod
def test_a_host_that_can_be_reached(ssh_here):
    settings = Settings(hosts="localhost:1,127.0.0.2:1")
    cores = check_hosts(places(settings), settings)
    assert cores == {"localhost": available_cores(), "127.0.0.2": available_cores()}


def test_other_versions_are_refused():
    workers = [{"host": h, "packages": {"python": "3.12", "keras": k}} for h, k in ("a1", "b1")]
    check_alike(workers)
    workers[1]["packages"]["keras"] = "2"
    with pytest.raises(ValueError, match="worker 1 on b has keras 2, but a has 1"):
        check_alike(workers)


@pytest.mark.parametrize(
    ("optimizer", "rule", "factor"),
    [("sgd", "auto", 4), ("adam", "auto", 2), ("adam", "linear", 4), ("sgd", "none", 1)],
)
def test_how_the_rate_grows(optimizer, rule, factor):
    assert Settings(rate_scaling=rule).rate_factor(optimizer, 4) == pytest.approx(factor)


def test_horovod_is_told_what_suits_the_network_or_the_user():
    chosen = horovod_environment(Settings(), 16 * 2**20)
    assert chosen["HOROVOD_CYCLE_TIME"] == "20"
    assert int(chosen["HOROVOD_FUSION_THRESHOLD"]) == 2**27
    assert horovod_environment(Settings(), 2**10)["HOROVOD_CYCLE_TIME"] == "2"
    assert int(horovod_environment(Settings(), 2**29)["HOROVOD_FUSION_THRESHOLD"]) > 2**29
    own = Settings(cycle_time=5, fusion_bytes=10, autotune=True, timeline="t.json")
    found = horovod_environment(own, 16 * 2**20)
    assert found["HOROVOD_CYCLE_TIME"] == "5"
    assert found["HOROVOD_FUSION_THRESHOLD"] == "10"
    assert found["HOROVOD_AUTOTUNE"] == "1"
    assert found["HOROVOD_TIMELINE"] == "t.json"


def test_a_host_whose_name_means_itself_only(monkeypatch):
    from astro_deepgalaxy_horovod import about, places

    packages = {"python": "3.12"}
    one = {"host": "a", "address": "10.0.0.1", "cores": [0], "packages": packages}
    two = {"host": "b", "address": "127.0.1.1", "cores": [0], "packages": packages}
    monkeypatch.setattr(about, "about", lambda: one)
    monkeypatch.setattr(places, "_ask", lambda host: two)
    settings = Settings(hosts="localhost:1,b:1")
    with pytest.raises(ValueError, match=r"b takes itself to be 127\.0\.1\.1.*/etc/hosts"):
        check_hosts(places.places(settings), settings)
    two["address"] = "10.0.0.2"
    assert check_hosts(places.places(settings), settings)["b"] == [0]
