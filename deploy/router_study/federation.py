"""Anchor, owners and their experts: everything that the cells of the comparison share."""

import copy
import json
import pathlib

import numpy
import safetensors.numpy

from router_study.worker import Workers

FIRST_LAYER = 20
STRIDE = 2
HELDOUT = 8  # windows of every text that models are measured on


class Anchor:
    """The anchor with its public text and activations, as the coordinator publishes it."""

    def __init__(self, workers: Workers, directory: pathlib.Path, public: pathlib.Path):
        self.directory = directory
        self.config = json.loads((directory / "config.json").read_text())
        self._workers = workers
        classes = {"prose": public / "prose.jsonl", "heldout": public / "heldout.jsonl"}
        classes |= {path.stem: path for path in sorted((public / "background").glob("*.jsonl"))}
        self._public, self._classes = public, classes
        self._measure("anchor", 12, classes)
        self.tokens = workers.output("anchor") / "tokens.safetensors"
        self.statistics = workers.output("anchor") / "statistics.safetensors"
        workers.make("anchor-heldout", [self.tokens], self._write_heldout)
        self.heldout = workers.output("anchor-heldout") / "tokens.safetensors"
        self.background = [name for name in classes if name not in ("prose", "heldout")]

    def _write_heldout(self, folder: pathlib.Path) -> None:
        _, shape, data = read_raw(self.tokens)["heldout"]
        write_raw({"heldout": ("I32", [HELDOUT, shape[1]], data[:4 * HELDOUT * shape[1]])},
                  folder / "tokens.safetensors")

    def _measure(self, name: str, windows: int, classes: dict) -> pathlib.Path:
        folders = sorted({path.parent for path in classes.values()} - {
            self._public, self._public / "background"})
        self._workers.run("coordinator", name, [{"anchor_statistics": {
            "model_directory": str(self.directory), "window_tokens": 256,
            "windows_per_class": windows, "heldout_windows": 16, "sample_stride": STRIDE,
            "first_layer": FIRST_LAYER,
            "classes": [{"name": label, "paths": [str(path)]}
                        for label, path in classes.items()]}}],
            [self.directory, self._public, *folders])
        return self._workers.output(name) / "statistics.safetensors"

    def larger(self, windows: int) -> pathlib.Path:
        """Statistics of all classes with up to so many windows each, several of a document."""
        return self._measure(f"anchor-{windows}", windows, self._classes)

    def wider(self, folder: pathlib.Path) -> pathlib.Path:
        """Statistics with further background classes, the files of `folder`."""
        more = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
        return self._measure("anchor-wider", 12, self._classes | more)

    def some(self, name: str, background: list, windows: int = 12) -> pathlib.Path:
        """Statistics with these background classes alone, of so many windows each."""
        name = "anchor-" + name

        def cut(folder):
            kept = {}
            # bfloat16 has no NumPy type: bytes are cut, not numbers.
            for tensor, (dtype, shape, data) in read_raw(self.statistics).items():
                label = tensor.split(".")[2]
                if label not in background and label not in ("prose", "importance"):
                    continue
                if label in background:
                    rows = shape[0] * windows // 12
                    data = data[:rows * len(data) // shape[0]]
                    shape = [rows, *shape[1:]]
                kept[tensor] = (dtype, shape, data)
            write_raw(kept, folder / "statistics.safetensors")

        self._workers.make(name, [self.statistics], cut, background=background, windows=windows)
        return self._workers.output(name) / "statistics.safetensors"


def read_raw(path: pathlib.Path) -> dict:
    """Name -> (dtype, shape, bytes) of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    return {name: (entry["dtype"], entry["shape"],
                   data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


def write_raw(tensors: dict, path: pathlib.Path) -> None:
    header, position = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, _, data in tensors.values():
            out.write(data)


class Expert:
    """One owner's expert and what it left on its site."""

    def __init__(self, workers: Workers, anchor: Anchor, label: str, folder: pathlib.Path, *,
                 seed: int = 0, width: int = 256, rows: str = "FIXED", epochs: int = 2,
                 windows: int = 0, site: str = "", fold: bool = True):
        self.name, self.width = label, width
        self._workers, self._anchor = workers, anchor
        self.site = workers.output("sites/" + (site or label))
        model = str(anchor.directory)
        self.tokens = self.site / "tokens.safetensors"
        self.trunk = self.site / "trunk.safetensors"
        self.activations = self.site / "activations.safetensors"
        self.rows = self.site / "router.safetensors"
        self.unfolded = self.site / "router_unfolded.safetensors"
        workers.run("contributor", "sites/" + (site or label), [
            {"prepare_text": {"model_directory": model,
                              "train_paths": [str(folder / "train.jsonl")],
                              "heldout_paths": [str(folder / "heldout.jsonl")],
                              "window_tokens": 256, "max_windows_per_document": 1,
                              "max_train_windows": windows,
                              "max_heldout_windows": HELDOUT}},
            {"calibrate": {"model_directory": model, "tokens_path": str(self.tokens),
                           "first_layer": FIRST_LAYER, "sample_stride": STRIDE,
                           "write_trunk": True}},
            {"fit_router": self.fitting(anchor.statistics)},
        ], [anchor.directory, folder, anchor.statistics])
        if not fold:
            self.rows = self.unfolded
        if rows == "TRAINED":
            self.rows = workers.output("training/" + label) / "expert.router.safetensors"
        start = {"importance_path": str(self.site / "importance.safetensors")}
        self._train(label, start, {"epochs": epochs}, seed, rows)
        self._export(label)

    def _train(self, label: str, start: dict, optimizer: dict, seed: int = 0,
               rows: str = "FIXED") -> None:
        task = {"model_directory": str(self._anchor.directory), "tokens_path": str(self.tokens),
                "trunk_path": str(self.trunk)} | start | {
                "first_layer": FIRST_LAYER, "widths": [self.width], "optimizer": optimizer,
                "rows": rows}
        read = [self._anchor.directory, *(pathlib.Path(path).parent for path in start.values())]
        if rows == "TRAINED":
            task["activations_path"] = str(self.activations)
        else:
            task["router_path"] = str(self.rows)
            read.append(self.rows.parent)
        read.append(self.site)
        self._workers.run("contributor", "training/" + label, [{"train": task}], read, seed)
        self.trained = self._workers.output("training/" + label) / "expert.safetensors"

    def _export(self, label: str) -> None:
        model = str(self._anchor.directory)
        output = self._workers.output("experts/" + label)
        self.file = output / "export.safetensors"
        results = self._workers.run("contributor", "experts/" + label, [
            {"export_expert": {"model_directory": model, "expert_path": str(self.trained),
                               "router_path": str(self.rows)}},
            {"evaluate_domain": {
                "model_directory": model, "tokens_path": str(self.tokens),
                "trunk_path": str(self.trunk), "first_layer": FIRST_LAYER,
                "models": [{"label": "anchor", "model": {"directory": model}},
                           {"label": "own", "model": {"directory": model,
                                                      "expert_paths": [str(self.file)]}}]}},
        ], [self._anchor.directory, self.site, self.trained.parent, self.rows.parent])
        losses = {loss["label"]: loss["window_losses"]
                  for loss in results[1]["evaluate_domain"]["losses"]}
        self.anchor_losses, self.own_losses = losses["anchor"], losses["own"]

    def windows(self) -> tuple:
        """Windows to train on and held-out ones, the ids of each as bytes."""
        tensors = read_raw(self.tokens)
        return tuple([data[i:i + 4 * shape[1]] for i in range(0, len(data), 4 * shape[1])]
                     for _, shape, data in (tensors["train"], tensors["heldout"]))

    def again(self, label: str, rows: pathlib.Path, epochs: int,
              learning_rate: float) -> "Expert":
        """This expert with other rows, trained further with them unless epochs is 0."""
        other = copy.copy(self)
        other.name, other.rows = label, rows
        if epochs > 0:
            other._train(label, {"initial_path": str(self.trained)},
                         {"epochs": epochs, "learning_rate": learning_rate})
        other._export(label)
        return other

    def own_rows(self, variant: str) -> pathlib.Path:
        """Rows fitted to the inputs that layers have in the own model, not in the anchor."""
        seen = f"own/{variant}/{self.name}"
        self._workers.make(seen, [self.file, self.trunk], self._write_own_activations)
        return self.refit(variant, self._anchor.statistics,
                          self._workers.output(seen) / "activations.safetensors")

    def _write_own_activations(self, folder: pathlib.Path) -> None:
        import torch  # pylint: disable=import-outside-toplevel  # seconds, for this alone
        from router_study import tail  # pylint: disable=import-outside-toplevel
        with torch.no_grad():
            hidden = tail.load_file(self.trunk)["train"]
            layers = tail.Tail(self._anchor.directory, hidden.shape[1])
            seen = {f"layers.{layer}.x": x[::STRIDE].bfloat16().contiguous()
                    for layer, (x, _, _) in enumerate(
                        layers.run(hidden, [tail.load_expert(self.file)]), FIRST_LAYER)}
        tail.save_file(seen, folder / "activations.safetensors")

    def fitting(self, statistics: pathlib.Path, **more) -> dict:
        return {"model_directory": str(self._anchor.directory),
                "activations_path": str(self.activations),
                "public_statistics_path": str(statistics), "first_layer": FIRST_LAYER} | more

    def refit(self, variant: str, statistics: pathlib.Path,
              activations: pathlib.Path | None = None, **more) -> pathlib.Path:
        """Rows fitted anew, to the site's activations or others; the expert as it is."""
        name = f"rows/{variant}/{self.name}"
        activations = activations or self.activations
        task = self.fitting(statistics, activations_path=str(activations), **more)
        self._workers.run("contributor", name, [{"fit_router": task}],
                          [self._anchor.directory, activations.parent, statistics])
        return self._workers.output(name) / "router.safetensors"

    def moments(self) -> pathlib.Path:
        """What a ridge router is solved from."""
        name = "moments/" + self.name
        self._workers.run("contributor", name, [{"calibrate": {
            "model_directory": str(self._anchor.directory), "tokens_path": str(self.tokens),
            "first_layer": FIRST_LAYER, "write_second_moments": True}}],
            [self._anchor.directory, self.site])
        return self._workers.output(name) / "second_moments.safetensors"


def split_rows(router: pathlib.Path, names: list, folder: pathlib.Path) -> list:
    """A release's router file as one row file for each expert."""
    tensors = safetensors.numpy.load_file(router)
    files = []
    for index, name in enumerate(names, 1):
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"{name}.safetensors")
        safetensors.numpy.save_file(
            {key: numpy.ascontiguousarray(value[index]).reshape(value.shape[1:])
             for key, value in tensors.items()}, files[-1])
    return files
