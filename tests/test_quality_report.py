import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from PIL import Image

from astro_deepgalaxy import CutoutStore, Recipe
from astro_deepgalaxy.evaluation import quality
from astro_deepgalaxy.evaluation.quality import measure_quality, spread
from astro_deepgalaxy.evaluation.quality_report import write_quality_report
from astro_deepgalaxy.flags import FAILED, FLAGS, Flag
from astro_deepgalaxy.preprocess.batch import preprocess_batch


def make_store(path, images, flags, ids=None, reasons=None, files=None, missing=None, **options):
    n = len(images)
    table = QTable(
        {
            "id": ids or [f"galaxy{i}" for i in range(n)],
            "file": files or [""] * n,
            "flags": np.array([int(flag) for flag in flags], dtype=np.int32),
            "reason": reasons or [""] * n,
            "missing_fraction": np.zeros(n, np.float32) if missing is None else missing,
            "ra": np.full(n, np.nan) * u.deg,
            "dec": np.full(n, np.nan) * u.deg,
            "cd": np.full((n, 4), np.nan) * u.deg,
        }
    )
    store = CutoutStore.create(path, n, np.shape(images)[1:], **options)
    for shard in store.pending:
        rows = store.rows_of(shard)
        store.write_shard(shard, images[rows], table[rows])
    return store


def blobs(n, channels=1, size=16):
    """Round galaxies, each brighter than the one before."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    blob = np.exp(-(x**2 + y**2) / (2 * 2.5**2))[..., np.newaxis] * np.ones(channels)
    return (np.linspace(0.2, 1, n)[:, np.newaxis, np.newaxis, np.newaxis] * blob).astype("f4")


class Page(HTMLParser):
    """Elements of a page, the cells of its table rows, and the tiles below each heading."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.rows, self.tiles, self.headings = [], [], {}, {}
        self._heading, self._into = None, None
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag in ("h2", "h3"):
            self._heading = attributes["id"]
            self.tiles[self._heading] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._into = "cell"
        elif tag == "img" and self._heading != "distributions":
            self.tiles[self._heading].append((attributes["alt"], attributes["src"]))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._into = None

    def handle_data(self, data):
        if self._into == "cell":
            self.rows[-1][-1] += data

    def counts(self):
        names = {definition.name for definition in FLAGS}
        return {row[0]: int(row[1].replace(",", "")) for row in self.rows if row[0] in names}


def picture(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A store in several shards where most flags occur, some of them together."""
    rng = np.random.default_rng(3)
    n = 1300
    flags = np.zeros(n, dtype=int)
    for bit in (0, 1, 3, 4, 5, 8, 13):
        flags |= (rng.random(n) < 0.1) << bit
    flags[700] |= int(Flag.WORKER_DIED)
    failed = flags & int(FAILED) != 0
    images = np.where(failed[:, None, None, None], 0, blobs(n))
    reasons = [f"file{i}.fits: a reason" if bad else "" for i, bad in enumerate(failed)]
    folder = tmp_path_factory.mktemp("mixed")
    return make_store(folder / "mixed & all.zarr", images, flags, reasons=reasons, shard_rows=100)


def test_counts_are_those_of_the_table(mixed, tmp_path):
    page = Page(write_quality_report(mixed, tmp_path / "q.html"))
    flags = mixed.table["flags"]
    expected = {
        d.name: int(np.sum(flags >> d.bit & 1)) for d in FLAGS if np.any(flags >> d.bit & 1)
    }
    assert len(expected) == 8
    assert page.counts() == expected
    usable = int(np.sum(flags & int(FAILED) == 0))
    assert f"<b>{len(mixed):,}</b>images" in page.text
    assert re.search(rf"<b>{usable:,}</b>usable", page.text)
    assert f"<b>{len(mixed) - usable:,}</b>cannot be used" in page.text
    assert "<h1>Quality of mixed &amp; all.zarr</h1>" in page.text


def test_each_flag_has_a_row_of_its_images(mixed, tmp_path):
    page = Page(write_quality_report(mixed, tmp_path / "q.html"))
    table = mixed.table
    for name in page.counts():
        flag = Flag[name.upper()]
        if flag & FAILED:
            assert f'<h3 id="flag-{name}">' in page.text
            continue
        shown = [int(alt.removeprefix("galaxy")) for alt, _ in page.tiles[f"flag-{name}"]]
        assert len(shown) == 8
        assert all(table["flags"][i] & int(flag) for i in shown)
        assert not any(table["flags"][i] & int(FAILED) for i in shown)
        # Spread over the store: some from its beginning and from its end.
        assert shown[0] < 100
        assert shown[-1] > 1200
    # No picture of what has no result, but its name and reason.
    assert ["galaxy700", "file700.fits: a reason"] in page.rows


def test_nothing_outside_is_needed(mixed, tmp_path):
    page = Page(write_quality_report(mixed, tmp_path / "q.html"))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object"})
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
        if tag == "a":
            assert f'id="{attributes["href"].removeprefix("#")}"' in page.text
    assert "url(" not in page.text


def test_the_same_store_gives_the_same_bytes(mixed, tmp_path):
    one = write_quality_report(mixed, tmp_path / "one.html")
    two = write_quality_report(CutoutStore.open(mixed.path), tmp_path / "two.html")
    assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.html", "two.html"]


def test_best_and_worst_follow_the_score(tmp_path):
    n = 40
    flags, missing = [Flag(0)] * n, np.zeros(n, np.float32)
    flags[39] = Flag.PICTURE | Flag.NO_WCS | Flag.NO_REDSHIFT  # the brightest: no worse for it
    flags[38] = Flag.EDGE | Flag.MISSING_DATA | Flag.SATURATED | Flag.BACKGROUND_RESIDUAL
    flags[37], missing[37] = Flag.MISSING_DATA, 0.9
    store = make_store(tmp_path / "s.zarr", blobs(n), flags, missing=missing, shard_rows=7)
    page = Page(write_quality_report(store, tmp_path / "q.html"))
    best, worst = ([alt for alt, _ in page.tiles[name]] for name in ("best", "worst"))
    assert best == [f"galaxy{i}" for i in (39, 36, 35, 34, 33, 32, 31, 30)]
    assert worst[:4] == ["galaxy37", "galaxy38", "galaxy0", "galaxy1"]


def test_score_is_contrast_less_what_is_wrong(tmp_path):
    images = np.zeros((2, 16, 16, 1), np.float32)
    images[:, 6:10, 6:10] = 0.8
    images[:, :2] = images[:, -2:] = images[:, :, :2] = images[:, :, -2:] = 0.3
    flags = [Flag.EDGE | Flag.NO_WCS, Flag(0)]
    store = make_store(tmp_path / "s.zarr", images, flags, missing=np.array([0.125, 0], "f4"))
    found = measure_quality(store)
    assert found.measured.tolist() == [0, 1]
    assert found.score == pytest.approx([0.5 - 0.125 - 0.25, 0.5], abs=1e-6)
    assert found.levels == pytest.approx(np.array([[0.8, 0.3]] * 2))


def test_a_sample_of_a_large_store_finds_the_few_bad_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "_SAMPLE", 50)
    monkeypatch.setattr(quality, "_DOUBTFUL", 10)
    flags = [Flag(0)] * 600
    flags[301] = Flag.EDGE | Flag.SATURATED
    store = make_store(tmp_path / "s.zarr", blobs(600), flags, shard_rows=40)
    found = measure_quality(store)
    assert 50 < len(found.measured) <= 60
    assert 301 in found.measured
    assert found.measured.min() == 0
    assert found.measured.max() == 599
    text = write_quality_report(store, tmp_path / "q.html").read_text()
    assert f"measured in {len(found.measured)} of the 600 usable images" in text


@pytest.mark.parametrize(("n", "wanted"), [(0, 8), (5, 8), (8, 8), (9, 8), (1000, 8)])
def test_spread_has_no_row_twice(n, wanted):
    rows = spread(np.arange(n) * 3, wanted)
    assert len(np.unique(rows)) == len(rows) == min(n, wanted)
    assert set(rows) <= set(range(0, 3 * n, 3))
    if n:
        assert rows[0] == 0
        assert rows[-1] == 3 * (n - 1)


def test_like_reasons_are_counted_together(tmp_path):
    names = ["a b", "c", "NGC 5394", "d"]
    files = [f"/data of mine/{name}.fits" for name in names]
    reasons = [
        "/data of mine/a b.fits: truncated: 2880 bytes are missing",
        "/data of mine/c.fits: truncated: 57.6e3 bytes are missing",
        "NGC 5394: /mosaics/tile12.fits: no such file",
        "d: /mosaics/tile7.fits: no such file",
    ]
    store = make_store(
        tmp_path / "s.zarr",
        np.zeros((4, 8, 8, 1)),
        [Flag.UNREADABLE] * 4,
        ids=names,
        files=files,
        reasons=reasons,
    )
    found = measure_quality(store)
    assert found.reasons == {"truncated: # bytes are missing": 2, "…: no such file": 2}
    assert found.examples["truncated: # bytes are missing"] == reasons[0]


def test_reasons_without_end_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "_MOST_REASONS", 3)
    reasons = [f"x: it is {'very ' * i}bad" for i in range(20)]
    flags = [Flag.PREPROCESS_FAILED] * 20
    store = make_store(tmp_path / "s.zarr", np.zeros((20, 8, 8, 1)), flags, reasons=reasons)
    found = measure_quality(store)
    assert len(found.reasons) == 4
    assert found.reasons["other reasons"] == 17


def test_hostile_names_are_text(tmp_path):
    evil = "<script>alert('x')</script>\" onerror=\"alert(1)"
    store = make_store(
        tmp_path / "<b>evil.zarr",
        blobs(2),
        [Flag.EDGE, Flag.UNREADABLE],
        ids=[evil, evil],
        files=["", evil + ".fits"],
        reasons=["", f"{evil}.fits: <img src=x onerror=alert(1)> {'long ' * 200}"],
        attributes={
            "recipe": {"version": 1, "steps": [{"step": "<script>", "size": "<script>"}]},
            "versions": {"<script>": "<script>"},
            "<script>": "<script>",
        },
    )
    page = Page(write_quality_report(store, tmp_path / "q.html"))
    assert not {tag for tag, _ in page.tags} & {"script", "b>evil.zarr"}
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert not any(attributes.get("src") == "x" for _, attributes in page.tags)
    assert page.tiles["flag-edge"][0][0] == evil
    assert "long long…" not in page.text
    assert max(len(cell) for row in page.rows for cell in row) < 1000


def test_a_store_without_any_usable_image(tmp_path):
    reasons = [f"f{i}.fits: no such file" for i in range(3)]
    store = make_store(
        tmp_path / "s.zarr", np.zeros((3, 8, 8, 1)), [Flag.UNREADABLE] * 3, reasons=reasons
    )
    page = Page(write_quality_report(store, tmp_path / "q.html"))
    assert page.counts() == {"unreadable": 3}
    assert "No image of this store can be used" in page.text
    assert not any(tag == "img" for tag, _ in page.tags)


@pytest.mark.parametrize("n", [1, 2, 30])
def test_a_store_without_any_flag(tmp_path, n):
    store = make_store(tmp_path / "s.zarr", blobs(n), [Flag(0)] * n)
    page = Page(write_quality_report(store, tmp_path / "q.html"))
    assert page.counts() == {}
    assert "No image has a flag" in page.text
    assert len(page.tiles["best"]) == min(8, -(-n // 2))
    assert len(page.tiles.get("worst", [])) == min(8, n // 2)
    assert "reasons" not in page.tiles


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pictures_show_the_pixels(tmp_path, channels):
    rng = np.random.default_rng(1)
    images = rng.random((1, 6, 9, channels), dtype=np.float32)
    store = make_store(tmp_path / "s.zarr", images, [Flag(0)])
    page = Page(write_quality_report(store, tmp_path / "q.html"))
    shown = picture(page.tiles["best"][0][1])
    expected = images[0] if channels == 3 else images[0].mean(axis=-1)
    assert np.abs(shown[::-1] / 255 - expected).max() < 0.503 / 255
    assert shown.shape == ((6, 9, 3) if channels == 3 else (6, 9))


def test_large_images_are_shown_smaller(tmp_path):
    images = np.zeros((1, 300, 300, 1), np.float32)
    images[0, :150] = 1
    page = Page(
        write_quality_report(
            make_store(tmp_path / "s.zarr", images, [Flag(0)]), tmp_path / "q.html"
        )
    )
    shown = picture(page.tiles["best"][0][1])
    assert shown.shape == (150, 150)
    assert (shown[:75] == 0).all()
    assert (shown[75:] == 255).all()


def test_an_unfinished_store_is_refused(tmp_path):
    store = CutoutStore.create(tmp_path / "s.zarr", 8, (4, 4, 1), shard_rows=4)
    with pytest.raises(ValueError, match="not written yet"):
        write_quality_report(store, tmp_path / "q.html")
    assert not (tmp_path / "q.html").exists()


def test_a_table_without_flags_is_refused(tmp_path):
    store = CutoutStore.create(tmp_path / "s.zarr", 1, (4, 4, 1))
    store.write_shard(0, np.zeros((1, 4, 4, 1)), QTable({"id": ["a"], "reason": [""]}))
    with pytest.raises(ValueError, match="no column file, flags, missing_fraction"):
        write_quality_report(store, tmp_path / "q.html")


def test_parts_make_up_the_table(mixed):
    parts = [mixed.part(shard) for shard in range(mixed.n_shards)]
    assert [len(part) for part in parts] == [100] * 13
    assert np.concatenate([part["id"] for part in parts]).tolist() == mixed.table["id"].tolist()
    with pytest.raises(ValueError, match="no shard 13"):
        mixed.part(13)


def test_real_images(real_images, tmp_path):
    (tmp_path / "noise.fits").write_bytes(np.random.default_rng(0).bytes(3000))
    files = [
        *sorted((real_images / "sdss_pawlik" / "small").glob("*.fits"))[:6],
        *sorted((real_images / "galaxy_zoo_mergers").glob("*.jpg"))[:4],
        real_images / "decals_gz" / "example_incomplete.fits.gz",
        tmp_path / "noise.fits",
        tmp_path / "gone.fits",
    ]
    store = preprocess_batch(files, Recipe.default(32), tmp_path / "s.zarr", progress=False)
    page = Page(write_quality_report(store, tmp_path / "q.html"))
    assert page.counts()["picture"] == 4
    assert page.counts()["unreadable"] == 3
    first = page.rows.index(["", "Step", "Options"]) + 1
    assert [row[1] for row in page.rows[first : first + 5]] == [
        "bands",
        "background",
        "crop",
        "resize",
        "stretch",
    ]
    reasons = [row[2] for row in page.rows if len(row) == 3 and "no such file" in row[2]]
    assert len(reasons) == 1
    assert reasons[0].startswith("no such file")
    assert reasons[0].endswith("gone.fits: no such file")


@pytest.mark.parametrize("text", ["a", "1", "a.", "/", "a/", "1e"])
def test_a_reason_without_end_is_cut(tmp_path, text):
    reasons = [f"x: cannot be read: {text * 100_000}{end}" for end in "ab"]
    store = make_store(
        tmp_path / "s.zarr", np.zeros((2, 8, 8, 1)), [Flag.UNREADABLE] * 2, reasons=reasons
    )
    found = measure_quality(store)
    # They differ only in what comes after.
    ((kind, count),) = found.reasons.items()
    assert count == 2
    assert len(kind) <= 500
    assert found.examples[kind] == reasons[0]
