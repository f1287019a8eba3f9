"""Tables, JSON and a picture of what was measured."""

import json
import pathlib


def kept(losses: dict, own: dict) -> dict:
    """Share of every own gain that a merge keeps."""
    return {name: (anchor - losses[name]) / (anchor - single)
            for name, (anchor, single) in own.items() if name in losses}


class Report:
    def __init__(self):
        self.rows = []  # label, texts -> loss, kept, public

    def add(self, losses: dict, own: dict, windows: dict | None = None) -> None:
        """`windows`: the held-out windows of every owner that were used; None: all."""
        for label, by_text in losses.items():
            share = kept(by_text, own)
            self.rows.append({
                "model": label, "losses": by_text, "kept": share,
                "least_kept": min(share.values()),
                "mean_kept": sum(share.values()) / len(share),
                "above_anchor": sorted(name for name in share if share[name] < 0),
                "own": {name: {"anchor": pair[0], "own": pair[1]} for name, pair in own.items()},
                "windows": windows})

    def markdown(self, names: list, public: float) -> str:
        lines = ["| merge | " + " | ".join(names) + " | least | mean | public |",
                 "| --- |" + " --- |" * (len(names) + 3)]
        for row in self.rows:
            cells = [f"{100 * row['kept'][name]:.0f}" if name in row["kept"] else "-"
                     for name in names]
            lines.append(f"| {row['model']} | " + " | ".join(cells)
                         + f" | {100 * row['least_kept']:.0f} | {100 * row['mean_kept']:.0f}"
                         + f" | {row['losses']['public'] - public:+.3f} |")
        return "\n".join(lines) + "\n" + "".join(
            self._owners(row) for row in self.rows if not row["kept"].keys() <= set(names))

    def _owners(self, row: dict) -> str:
        """A line for each owner of a federation that has more of them than columns."""
        lines = [f"\n{row['model']}:\n", "| owner | windows | anchor | own | merged | kept |",
                 "| --- | --- | --- | --- | --- | --- |"]
        for name, pair in row["own"].items():
            windows = "all" if row["windows"] is None else len(row["windows"][name])
            lines.append(f"| {name} | {windows} | {pair['anchor']:.3f} | {pair['own']:.3f}"
                         f" | {row['losses'][name]:.3f} | {100 * row['kept'][name]:.0f} |")
        return "\n".join(lines) + "\n"

    def picture(self) -> str:
        """Least and mean gain kept, a bar each; SVG."""
        width, line, left = 760, 26, 330
        height = line * len(self.rows) + 60
        scale = (width - left - 60) / 1.1
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
               ' font-family="sans-serif" font-size="13"><title>Share of own gains that merges'
               ' keep</title><desc>Mean over domains as a bar, the least as a dark mark.</desc>',
               f'<rect width="{width}" height="{height}" fill="#fff"/>']
        for tick in (0, 0.25, 0.5, 0.75, 0.9, 1):
            x = left + tick * scale
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="28" y2="{height - 20}"'
                       f' stroke="{"#b33" if tick == 0.9 else "#ddd"}"/>'
                       f'<text x="{x:.1f}" y="20" text-anchor="middle" font-size="11" fill="#444">'
                       f'{100 * tick:.0f} %</text>')
        for i, row in enumerate(self.rows):
            y = 34 + i * line
            mean, least = (max(0.0, min(1.1, row[key])) for key in ("mean_kept", "least_kept"))
            label = row["model"].replace("&", "&amp;").replace("<", "&lt;")
            if len(label) > 46:
                label = label[:45] + "…"
            out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="#222">{label}'
                       f'</text><rect x="{left}" y="{y + 3}" width="{mean * scale:.1f}" height="14"'
                       f' fill="#8fb4d9"/><rect x="{left + least * scale - 2:.1f}" y="{y}"'
                       ' width="4" height="20" fill="#1f3f66"/>')
            if row["mean_kept"] < 0:  # off the scale: in words
                out.append(f'<text x="{left + 10}" y="{y + 14}" fill="#222">mean'
                           f' {100 * row["mean_kept"]:.0f} %, least'
                           f' {100 * row["least_kept"]:.0f} %</text>')
        return "\n".join(out) + "\n</svg>\n"

    def write(self, folder: pathlib.Path, names: list, public: float, more: dict) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        table = self.markdown(names, public)
        (folder / "study.json").write_text(json.dumps(
            {"anchor_public": public, "rows": self.rows} | more, indent=1) + "\n")
        (folder / "study.md").write_text(table)
        (folder / "study.svg").write_text(self.picture())
        return table
