"""What images look like, and what kinds of them there are."""

import numpy as np
from data import split, stores
from latent import trained_embedder

from astro_deepgalaxy import GalaxyClusterer, SimilaritySearch
from astro_deepgalaxy.figures_search import choice_of_k as draw_choice
from astro_deepgalaxy.search import NeighbourGraph, choice_overlap
from astro_deepgalaxy.tasks.latents import embed

_QUERIES = 300
_SHOWN = 5


def choice_of_k(options):
    """How much the recommendations from other simulations depend on the number of neighbours."""
    store = stores(options, "field")
    latents = embed(trained_embedder(options), store)
    search = SimilaritySearch().fit(latents)
    groups = np.asarray(latents.column("group"), dtype=str)
    rows = np.random.default_rng(0).choice(len(latents), _QUERIES, replace=False)
    overlap = choice_overlap(
        search.index_,
        NeighbourGraph.build(search.index_, latents.vectors, 40),
        latents.vectors,
        rows,
        allowed=lambda some, found: groups[found] != groups[some][:, np.newaxis],
    )
    names = {
        "graph": "walk on the weighted graph",
        "nearest": "nearest alone",
        "equal": "walk without weights",
        "neighbours": "the k nearest",
    }
    table = [
        {"k": int(row["k"]), **{text: f"{row[name]:.2f}" for name, text in names.items()}}
        for row in overlap
    ]
    return table, draw_choice(overlap)


def lookalikes(options):
    """Recommendations with the graph and without, and compared with the image."""
    store, model = stores(options, "field"), trained_embedder(options)
    _, unseen = split(store)
    mergers = unseen[np.asarray(store.table["kind"], dtype=str)[unseen] == "merger"]
    queries = np.sort(np.random.default_rng(0).choice(mergers, _QUERIES, replace=False))
    true = dict(zip(store.table["id"], store.table["time_since_pericentre"], strict=True))
    search, table = SimilaritySearch(model).fit(store), []
    for candidates, steps, how in (
        (8, 2, "walk on the graph, the most alike of 8 first"),
        (0, 2, "walk on the graph"),
        (0, 0, "nearest alone"),
    ):
        search.set_params(steps=steps, candidates=candidates)
        for other_groups, where in ((False, "anywhere"), (True, "other simulations")):
            matches = search.query(store, rows=queries, other_groups=other_groups)
            time = [true[name].to_value("Myr") for name in matches["query"]]
            away = np.abs(matches["time_since_pericentre"].to_value("Myr") - time)
            first = matches["rank"] == 1
            table.append(
                {
                    "recommended by": how,
                    "from": where,
                    "SSIM of the first": f"{np.mean(matches['ssim'][first]):.3f}",
                    "SSIM of six": f"{np.mean(matches['ssim']):.3f}",
                    "median time difference of six (Myr)": f"{np.nanmedian(away):.0f}",
                }
            )
    search.set_params(steps=2, candidates=8)
    shown = stores(options, "field", kinds=("mergers",))
    _, unseen = split(shown)
    rows = unseen[:: len(unseen) // _SHOWN + 7][:_SHOWN]
    return table, search.figure(shown, rows=rows, other_groups=True)


def clusters(options):
    """Clusters of the images, and how they agree with what is known."""
    found = GalaxyClusterer(8).fit(embed(trained_embedder(options), stores(options, "field")))
    table = []
    for name in ("stage", "kind", "group"):
        scores = found.agreement(name)
        table.append(
            {
                "clusters": found.n_clusters_,
                "compared with": name,
                "images": scores["n"],
                "NMI": f"{scores['nmi']:.3f}",
                "ARI": f"{scores['ari']:.3f}",
            }
        )
    return table, found.figure()
