"""The journal of `invert`: which images are finished in a folder, by one process or several."""
import contextlib
import csv
import hashlib
import json

from .errors import UserError
from .files import atomic, write_json
from .trajectory import merge, names_in

COLUMNS = ("image", "step", "l2", "perceptual", "identity", "seconds")
SHARD = 1000


class Journal:
    """What is finished in `out`: invert.json, metrics.csv, and finished.csv, written last for each image.

    names: the images, in order. Of several processes (`size`) each adds to tables of its own, of the images
    that are its share: metrics.RANK.csv and finished.RANK.csv, which `tidy` joins."""

    def __init__(self, out, settings, names=(), rank=0, size=1):
        self.out, self.rows, self.names = out, settings["steps"] + 1, names
        self.sharded = "latents" in settings.get("save", ()) and len(names) > SHARD
        self.mark = f".{rank}" if size > 1 else ""
        path, settings = out / "invert.json", json.loads(json.dumps(settings))
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            for key in [key for key in settings if before.get(key) != settings[key]]:
                raise UserError(f"{out} holds results with {key} {before.get(key)}, not {settings[key]}; "
                                "choose another folder")
        else:
            write_json(path, settings)
        if rank:
            self.done = {row[0]: row[1] for row in _read_csv(out / "finished.csv")}
        else:
            self.tidy()
        if size > 1:
            self.done = {name: self.done[name] for name in names[rank::size] if name in self.done}
        loose = [out / name / "trajectory.npz" for name in self.done]
        self.loose = [path for path in loose if path.exists()]
        for shard in out.glob("trajectories_*.npz") if self.loose else ():
            for path in {out / name / "trajectory.npz" for name in names_in(shard)} & set(self.loose):
                if path.stat().st_mtime_ns <= shard.stat().st_mtime_ns:       # joined, then killed
                    path.unlink()
                    self.loose.remove(path)

    def tidy(self, without=()):
        """Writes both tables with the finished images only: an interrupted run may have left half a row, and
        several processes tables of their own, whose rows are the newer ones."""
        found, marks = {}, ["", *(path.name[8:-4] for path in sorted(self.out.glob("finished.*.csv")))]
        for mark in marks:
            rows = {}
            for row in _read_csv(self.out / f"metrics{mark}.csv"):
                if len(row) == len(COLUMNS):
                    rows.setdefault(row[0], []).append(row)
            found |= {row[0]: (row[1], rows[row[0]]) for row in _read_csv(self.out / f"finished{mark}.csv")
                      if len(row) == 2 and len(rows.get(row[0], ())) == self.rows and row[0] not in without}
        if len(marks) > 1:
            order = {name: place for place, name in enumerate(self.names)}
            found = dict(sorted(found.items(), key=lambda pair: order.get(pair[0], -1)))
        self.done = {name: digest for name, (digest, _) in found.items()}
        lines = [COLUMNS, *(row for _, rows in found.values() for row in rows)]
        for name, content in [("metrics.csv", lines), ("finished.csv", self.done.items())]:
            with atomic(self.out / name, "w") as stream:
                csv.writer(stream, lineterminator="\n").writerows(content)
        for mark in marks[1:]:
            for name in ("metrics", "finished"):
                (self.out / f"{name}{mark}.csv").unlink(missing_ok=True)

    def add(self, names, digests, rows):
        """Records finished images and their rows of metrics; replaces what was known of them."""
        if not self.mark and (known := self.done.keys() & set(names)):
            self.tidy(known)
        for name, content in [("metrics", rows), ("finished", zip(names, digests, strict=True))]:
            with open(self.out / f"{name}{self.mark}.csv", "a", encoding="utf-8", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows(content)
        self.done.update(zip(names, digests, strict=True))
        paths = [self.out / name / "trajectory.npz" for name in names]
        self.loose += [path for path in paths if path.exists() and path not in self.loose]
        if self.sharded and len(self.loose) >= SHARD:
            self._shard()

    def finish(self):
        """Joins what is left of single trajectories, where there are too many to leave alone."""
        while self.sharded and self.loose:
            self._shard()

    def join(self):
        """Joins the tables of all processes; of what is done, only `names` count then."""
        self.tidy()
        self.done = {name: self.done[name] for name in self.names if name in self.done}

    def sum(self):
        """A sum of names and contents that are done, which their order does not change."""
        return sum(int(hashlib.sha256(f"{name}\n{digest}".encode()).hexdigest()[:12], 16)
                   for name, digest in self.done.items())

    def _shard(self):
        """Joins up to 1,000 single trajectories into the next trajectories_N.npz (of several processes:
        trajectories_RANK_N.npz)."""
        some, self.loose = self.loose[:SHARD], self.loose[SHARD:]
        name = f"trajectories{self.mark.replace('.', '_')}_"
        merge(some, self.out / f"{name}{len(list(self.out.glob(f'{name}*.npz'))):03d}.npz")
        for path in some:
            path.unlink()


def _read_csv(path):
    if not path.exists():
        return []
    rows = []
    with open(path, encoding="utf-8", errors="replace", newline="") as stream, contextlib.suppress(csv.Error):
        rows.extend(csv.reader(stream))                   # as far as it can be read: the rest is made again
    return rows
