"""What z keeps of an image, and what is found by it."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u
from data import real, split, stores, trainer
from sklearn.decomposition import PCA

from astro_deepgalaxy import GalaxyEmbedder
from astro_deepgalaxy.figures import latent_grid as draw_grid
from astro_deepgalaxy.figures import reconstructions as draw_reconstructions
from astro_deepgalaxy.metrics import bootstrap_range
from astro_deepgalaxy.metrics.similarity import masked_ssim, source_mask

SIZE = 32
_QUERIES = 400
_CANDIDATES = 8
_PCA_IMAGES = 4000


def latent(options):
    """Images through z, through PCA of the same length, and through the decoder alone."""
    store, embedder = stores(options, "field"), trained_embedder(options)
    train, unseen = split(store)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(unseen, min(_QUERIES, len(unseen)), replace=False))
    images = store.load(rows)
    shape = images.shape[1:]
    known = store.load(np.sort(rng.choice(train, min(_PCA_IMAGES, len(train)), replace=False)))
    pca = PCA(SIZE, svd_solver="randomized", random_state=0).fit(known.reshape(len(known), -1))
    flat = pca.inverse_transform(pca.transform(images.reshape(len(images), -1)))
    _, outputs = embedder.outputs(store, ["latent_reconstruction", "reconstruction"], rows)
    again = {
        f"z of {SIZE}": outputs["latent_reconstruction"],
        f"PCA of {SIZE}": np.clip(flat.reshape(-1, *shape), 0, 1),
        "FCAE alone (the whole feature map)": outputs["reconstruction"],
        "mean of the training images": np.broadcast_to(known.mean(axis=0), images.shape),
    }
    groups = np.asarray(store.table["group"][rows], dtype=str)
    masks = [source_mask(image) for image in images]
    everything = [np.ones(shape[:2], dtype=bool)] * len(images)
    table = []
    for name, others in again.items():
        inside, whole = (_ssim(images, others, where) for where in (masks, everything))
        table.append(
            {
                "through": name,
                **_mean("SSIM of sources", inside, groups),
                **_mean("SSIM of images", whole, groups),
            }
        )
    return table, _examples(images, again)


def search(options):
    """Likeness of the first that is found, anywhere and in other simulations only."""
    embedder, rng, rows = trained_embedder(options), np.random.default_rng(0), []
    dense = stores(options, "field", kinds=("dense",))
    usual = stores(options, "field", kinds=("mergers",))
    for name, store, unseen in (
        ("every 5 Myr", dense, np.arange(len(dense))),
        ("every 10 Myr", usual, split(usual)[1]),
    ):
        _about, outputs = embedder.outputs(store, ["z"])
        images = store.load(np.arange(len(store)))
        groups = np.asarray(store.table["group"], dtype=str)
        time = u.Quantity(store.table["time_since_pericentre"]).to_value(u.Myr)
        queries = rng.choice(unseen, _QUERIES, replace=False)
        pixels = images.reshape(len(images), -1)
        flat = PCA(SIZE, svd_solver="randomized", random_state=0).fit(pixels[::4])
        vectors = {"z": outputs["z"], f"PCA of {SIZE} of the pixels": flat.transform(pixels)}
        masks, found = [source_mask(images[i]) for i in queries], {}
        for where in ("anywhere", "other simulations"):
            for by, those in vectors.items():
                near = _nearest(those, queries, groups, other=where != "anywhere")
                alike = [_ssim(images[queries], images[column], masks) for column in near.T]
                best = near[np.arange(len(queries)), np.argmax(alike, axis=0)]
                found[where, by] = near[:, 0]
                found[where, f"{by}, then the most alike of {_CANDIDATES}"] = best
        others = [rng.choice(np.flatnonzero(groups != groups[i])) for i in queries]
        found["other simulations", "chance"] = np.array(others)
        for (where, by), nearest in found.items():
            alike = _ssim(images[queries], images[nearest], masks)
            away = np.abs(time[queries] - time[nearest])
            rows.append(
                {
                    "snapshots": name,
                    "neighbour from": where,
                    "by": by,
                    **_mean("SSIM of sources", alike, groups[queries]),
                    "median time difference (Myr)": f"{np.nanmedian(away):.0f}",
                }
            )
    return rows, None


def latent_grid(options):
    """Images decoded from between the z of four unseen mergers."""
    embedder, images = trained_embedder(options), _unseen_mergers(options, 4)
    corners = embedder.network_.latent_encoder(
        embedder.network_.model(["feature_map"])(images)["feature_map"]
    )["z"].numpy()
    return [], draw_grid(embedder.latent_grid(corners), images)


def residuals(options):
    """Unseen mergers, what the decoder makes of their features, and what is missing."""
    embedder, images = trained_embedder(options), _unseen_mergers(options, 7)
    again = embedder.network_.model(["reconstruction"])(images)["reconstruction"].numpy()
    return [], draw_reconstructions(images, again)


def trained_embedder(options):
    """Encoder, decoder and latent, learned from rendered images and real ones."""
    folder = options.work / "embedder"
    if not (folder / "model").exists():
        store, filters = stores(options, "field"), [96, 64, 32, 24, 16]
        embedder = GalaxyEmbedder(
            "simple",
            backbone_options={
                "filters": [16, 32, 64, 128, 160],
                "convolutions": [1, 2, 2, 2, 2],
            },
            image_size=128,
            latent_size=SIZE,
            filters=filters,
            loss="structural",
            image_weight=1.0,
            feature_weight=0.05,
            beta=3e-5,
            also={"reconstruct": {"filters": filters, "loss": "structural"}},
            epochs=options.embedder_epochs,
            learning_rate=1e-3,
            validation_fraction=0.1,
            # The field is that of the other images, without noise: only the sky has no up.
            augment={"zoom": 0, "shift": 0, "resampled": 0.25}
            | dict.fromkeys(("blur", "noise", "stars", "brightness"), 0),
            seed=1,
            work_folder=folder,
            **trainer(options),
        )
        embedder.fit(store, rows=split(store)[0], unlabelled=real(options))
        embedder.save(folder / "model")
    return GalaxyEmbedder.load(folder / "model")


def _unseen_mergers(options, n):
    store = stores(options, "field", kinds=("mergers",))
    _, unseen = split(store)
    return store.load(unseen[:: len(unseen) // n + 3][:n])


def _nearest(vectors, queries, groups, other):
    """Rows of the nearest images of each query but itself, or of those of other simulations."""
    near = []
    for i in queries:
        distance = np.linalg.norm(vectors - vectors[i], axis=1)
        distance[groups == groups[i] if other else i] = np.inf
        near.append(np.argsort(distance)[:_CANDIDATES])
    return np.array(near)


def _ssim(images, others, masks):
    return np.array([masked_ssim(*each) for each in zip(images, others, masks, strict=True)])


def _mean(name, values, groups):
    low, high = bootstrap_range(lambda rows: values[rows].mean(), groups)
    return {name: f"{values.mean():.3f}", f"{name}, 95 % range": f"{low:.3f} to {high:.3f}"}


def _examples(images, again, n=6):
    chosen = np.linspace(0, len(images) - 1, n).astype(int)
    rows = {"image": images, **again}
    del rows["mean of the training images"]
    figure, axes = plt.subplots(len(rows), n, figsize=(1.3 * n, 1.3 * len(rows)))
    for line, (name, several) in zip(axes, rows.items(), strict=True):
        for axis, i in zip(line, chosen, strict=True):
            axis.imshow(several[i][..., 0], cmap="magma", vmin=0, vmax=1, origin="lower")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(textwrap.fill(name, 16), fontsize=7)
    figure.subplots_adjust(0.07, 0.01, 0.99, 0.99, 0.04, 0.04)
    return figure
