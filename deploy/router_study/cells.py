"""What is compared: merges of the same experts that differ in one thing each."""

import pathlib

from router_study import texts
from router_study.federation import FIRST_LAYER, Anchor, Expert, split_rows
from router_study.worker import Workers

TEMPERATURES = (0.3, 1, 3)


def mean(losses: list, windows: list | None = None) -> float:
    """Over these windows, or over all: every window has as many tokens."""
    chosen = losses if windows is None else [losses[i] for i in windows]
    return sum(chosen) / len(chosen)


def unfolded(rows: list) -> list:
    """The same rows with their bias, which a fit writes beside the folded ones."""
    return [path.with_name("router_unfolded.safetensors") for path in rows]


class Cells:
    """Merged models by label, in groups that are measured together."""

    def __init__(self, workers: Workers, anchor: Anchor, folder: pathlib.Path):
        self._workers, self._anchor, self._texts = workers, anchor, folder
        self._losses = {}  # group -> label -> text -> nats per token

    def experts(self, names, prefix: str = "", folder: str = "seed1", **options) -> dict:
        # Experts of the first texts share a site, whatever else is different.
        sites = {name: name if folder == "seed1" else prefix + name for name in names}
        return {name: Expert(self._workers, self._anchor, prefix + name,
                             self._texts / folder / name, site=sites[name], **options)
                for name in names}

    def model(self, experts: dict, rows: list | None = None, **options) -> dict:
        """A merge of these experts, with other rows where given."""
        source = {"directory": str(self._anchor.directory),
                  "expert_paths": [str(expert.file) for expert in experts.values()]}
        if rows is not None:
            source["router_paths"] = [str(path) for path in rows]
        return source | options

    def measure(self, group: str, experts: dict, models: dict, windows: dict | None = None) -> dict:
        """label -> text -> loss of these models on every expert's held-out text, or on these
        windows of it, and on public text."""
        found = {label: {} for label in models}
        labelled = [{"label": label, "model": model} for label, model in models.items()]
        read = [self._anchor.directory]
        for model in models.values():
            for path in (*model["expert_paths"], *model.get("router_paths", ())):
                read.append(pathlib.Path(path).parent)
        common = {"model_directory": str(self._anchor.directory), "models": labelled}
        texts_ = {name: (common | {"tokens_path": str(expert.tokens),
                                   "trunk_path": str(expert.trunk), "first_layer": FIRST_LAYER},
                         expert.site) for name, expert in experts.items()}
        texts_["public"] = (common | {"tokens_path": str(self._anchor.heldout)},
                            self._anchor.heldout.parent)
        for name, (task, folder) in texts_.items():
            results = self._workers.run("contributor", f"cells/{group}/{name}",
                                        [{"evaluate_domain": task}], [*read, folder])
            for loss in results[0]["evaluate_domain"]["losses"]:
                found[loss["label"]][name] = mean(
                    loss["window_losses"], (windows or {}).get(name))
        self._losses[group] = found
        return found

    def anchor_public(self) -> float:
        """The anchor's own log-loss on public held-out text."""
        results = self._workers.run("contributor", "cells/anchor", [{"evaluate_domain": {
            "model_directory": str(self._anchor.directory),
            "tokens_path": str(self._anchor.heldout),
            "models": [{"label": "anchor", "model": {"directory": str(self._anchor.directory)}}]}}],
            [self._anchor.directory, self._anchor.heldout.parent])
        return results[0]["evaluate_domain"]["losses"][0]["log_loss"]

    def ridge(self, experts: dict, temperature: float, label: str) -> list:
        """Row files of a ridge router."""
        moments = {name: expert.moments() for name, expert in experts.items()}
        config = self._anchor.config
        name = f"ridge/{label}-{temperature:g}"
        self._workers.run("coordinator", name, [{"solve_ridge": {
            "contributions": [{"contribution": name, "path": str(path)}
                              for name, path in moments.items()],
            "public_statistics_path": str(self._anchor.statistics),
            "num_layers": config["num_hidden_layers"], "hidden_size": config["hidden_size"],
            "temperature": temperature}}],
            [self._anchor.statistics, *(path.parent for path in moments.values())])
        output = self._workers.output(name)
        return split_rows(output / "router.safetensors", list(experts), output / "rows")

    def exported(self, experts: dict) -> list:
        """Row files as an export makes them of rows with a bias."""
        def fold(folder):
            from router_study import folding  # pylint: disable=import-outside-toplevel
            folding.fold([expert.rows for expert in experts.values()], self._anchor.statistics,
                         folder)

        self._workers.make("rows/exported", [
            self._anchor.statistics, *(expert.rows for expert in experts.values())], fold)
        return [self._workers.output("rows/exported") / f"{index}.safetensors"
                for index in range(len(experts))]

    def tuned(self, experts: dict, label: str, **options) -> tuple:
        """Row files of a tuned router, and what the worker says about it."""
        name = f"tuned/{label}"
        results = self._workers.run("coordinator", name, [{"tune_router": {
            "model": self.model(experts), "public_tokens_path": str(self._anchor.tokens)}
            | options}],
            [self._anchor.directory, self._anchor.tokens.parent,
             *(expert.file.parent for expert in experts.values())])
        output = self._workers.output(name)
        return (split_rows(output / "router.safetensors", list(experts), output / "rows"),
                results[0]["tune_router"])


def main_line(cells: Cells) -> tuple:
    experts = cells.experts(texts.DOMAINS)
    model = cells.model
    losses = cells.measure("main", experts, {
        "discriminant": model(experts),
        "top-1": model(experts, top_k=1),
        "top-3": model(experts, top_k=3),
        "anchor forced into the top-2": model(experts, top_k=2, force_public=True),
        "bias not folded": model(experts, [e.unfolded for e in experts.values()]),
    })
    return experts, losses


def rows_of_others(cells: Cells, anchor: Anchor, experts: dict) -> dict:
    """Rows fitted in other ways, the experts as they are."""
    def refit(variant, statistics, **more):
        return cells.model(experts, [expert.refit(variant, statistics, **more)
                                     for expert in experts.values()])
    others = [name for name in anchor.background if name not in texts.OF_OWNERS]
    half = others[::2]
    return cells.measure("rows", experts, {
        "closed form": refit("closed", anchor.statistics, method="CLOSED_FORM"),
        f"{len(others)} background classes, none of an owner's kind":
            refit("others", anchor.some("others", others)),
        f"{len(half)} background classes ({', '.join(half)})":
            refit("half", anchor.some("half", half)),
        "public prose alone": refit("prose", anchor.some("prose", [])),
        f"{len(anchor.background)} classes of 3 windows":
            refit("short", anchor.some("short", anchor.background, 3)),
    })


def larger_background(cells: Cells, anchor: Anchor, experts: dict) -> dict:
    """Rows fitted to three times as much public text, the experts as they are."""
    statistics = anchor.larger(36)
    rows = [expert.refit("larger", statistics) for expert in experts.values()]
    return cells.measure("larger", experts, {
        "up to 36 windows a class": cells.model(experts, rows),
        "the same, bias not folded": cells.model(experts, unfolded(rows))})


def ridge(cells: Cells, experts: dict) -> dict:
    return cells.measure("ridge", experts, {
        f"ridge, temperature {t:g}": cells.model(experts, cells.ridge(experts, t, "main"))
        for t in TEMPERATURES})


def tuned(cells: Cells, experts: dict, **options) -> tuple:
    rows, result = cells.tuned(experts, "main", **options)
    return cells.measure("tuned", experts, {"tuned": cells.model(experts, rows)}), result


def trained_rows(cells: Cells) -> tuple:
    """Experts trained together with rows that start from mean activations."""
    experts = cells.experts(texts.DOMAINS, "trained-", rows="TRAINED")
    return experts, cells.measure("trained", experts, {"trained": cells.model(experts)})


def with_bias(cells: Cells) -> tuple:
    """Experts trained with rows that keep their bias (`expert.unfolded_rows`), and what an
    export to a format without biases makes of them."""
    experts = cells.experts(texts.DOMAINS, "bias-", fold=False)
    losses = cells.measure("bias", experts, {
        "bias not folded, experts trained with it": cells.model(experts)})
    return experts, losses | cells.measure("exported", experts, {
        "the same, folded by an export": cells.model(experts, cells.exported(experts))})


def doubles(cells: Cells, experts: dict) -> tuple:
    more = experts | cells.experts(texts.DOUBLES)
    return more, cells.measure("doubles", more, {"with two more German experts": cells.model(more)})


def another_seed(cells: Cells) -> tuple:
    experts = cells.experts(texts.DOMAINS, "seed2-", "seed2")
    return experts, cells.measure("seed2", experts, {"discriminant, other documents":
                                                     cells.model(experts)})


def own_rows(cells: Cells, experts: dict) -> list:
    """Rows fitted again to the layers' inputs in the own model, once with the experts as
    they are and once trained further with them; and as a comparison experts that were
    trained as much with their first rows. (experts, losses) of each."""
    fitted = {name: expert.own_rows("own") for name, expert in experts.items()}
    variants = {
        "rows of the own model": {name: expert.again("own-" + name, fitted[name], 0, 0)
                                  for name, expert in experts.items()},
        "the same, one more epoch": {
            name: expert.again("own-trained-" + name, fitted[name], 1, 5e-4)
            for name, expert in experts.items()},
        "first rows, one more epoch": {
            name: expert.again("longer-" + name, expert.rows, 1, 5e-4)
            for name, expert in experts.items()}}
    return [(made, cells.measure(label.replace(" ", "-").replace(",", ""), made,
                                 {label: cells.model(made)}))
            for label, made in variants.items()]


def many(cells: Cells, doubled: dict, others: dict) -> tuple:
    """32 owners: those of `doubles`, other owners of the same nine domains, and twelve
    of further domains. (experts, windows, losses)."""
    experts = (doubled | {name + " (2)": expert for name, expert in others.items()}
               | cells.experts(texts.MORE, folder="more"))
    windows = unseen(experts)
    label = f"{len(experts)} owners"
    return experts, windows, cells.measure("many", experts, {label: cells.model(experts)}, windows)


def unseen(experts: dict) -> dict:
    """The held-out windows of every owner that no owner was trained on: two owners of a
    domain chose their documents independently."""
    windows = {name: expert.windows() for name, expert in experts.items()}
    seen = {window for train, _ in windows.values() for window in train}
    return {name: [i for i, window in enumerate(heldout) if window not in seen]
            for name, (_, heldout) in windows.items()}


def many_wider(cells: Cells, anchor: Anchor, experts: dict, windows: dict,
               folder: pathlib.Path) -> dict:
    """The same experts with rows fitted beside more background classes."""
    statistics = anchor.wider(folder)
    count = len(list(folder.glob("*.jsonl")))
    rows = [expert.refit("wider", statistics) for expert in experts.values()]
    label = f"{len(experts)} owners, {count} more background classes"
    return cells.measure("many-wider", experts, {
        label: cells.model(experts, rows),
        label + ", bias not folded": cells.model(experts, unfolded(rows))}, windows)


def own(experts: dict, windows: dict | None = None) -> dict:
    """Losses of the anchor and the own model by owner."""
    return {name: tuple(mean(losses, (windows or {}).get(name))
                        for losses in (expert.anchor_losses, expert.own_losses))
            for name, expert in experts.items()}
