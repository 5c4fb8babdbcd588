"""Files: a catalogue in the original's own files, read once and then mapped from the cache.

Invariant: a product is the same in every process; where the original draws a price from a range at
every start, here the draw follows from the product. A text of a product cannot pass for a mark of
a page. Does not: repair files that are not what they should be.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from alicebob.envs.shopping import draw_for
from alicebob.envs.webshop import goals as goals_of
from alicebob.envs.webshop.cache import built
from alicebob.envs.webshop.goals import Goals, split_of
from alicebob.envs.webshop.product import Goal, Product
from alicebob.errors import DamagedData, UsageError
from alicebob.retrieval.bm25 import Index

__all__ = ["FORMAT", "Files"]

FORMAT = 1  # of what is cached; another number builds it anew
LONGEST = 20_000  # characters of a text of a product
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_MARK = re.compile(r"\[((?:clicked )?button_?|button_|SEP)\]", re.IGNORECASE)
DUMMY = "DUMMY_ATTR"  # upstream's attribute of a product that has none
NAMES = {
    "products": ("items_shuffle.json", "items_shuffle_1000.json"),
    "attributes": ("items_ins_v2.json", "items_ins_v2_1000.json"),
    "human": ("items_human_ins.json",),
}


class Files:
    """A catalogue in the original's own files, read once and then mapped from the cache.

    `facts` says what was found: the files, products, goals and what was passed over.
    """

    def __init__(self, source: Path) -> None:
        self.name = f"files:{source.name}"
        found = _find(source)
        stamp = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found.values()
        ]
        key = hashlib.sha256(json.dumps([FORMAT, stamp]).encode()).hexdigest()[:16]
        folder = built(f"files-{key}", functools.partial(_prepare, found))
        self.facts: dict[str, Any] = json.loads((folder / "facts.json").read_text("utf-8"))
        self._offsets = np.load(folder / "offsets.npy", mmap_mode="r")
        self._asins = np.load(folder / "asins.npy", mmap_mode="r")
        self._order = np.load(folder / "order.npy", mmap_mode="r")
        with (folder / "products.jsonl").open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._folder = folder
        self._read = functools.lru_cache(1 << 14)(self._product)

    def __len__(self) -> int:
        """Return how many products there are."""
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> Product:
        """Return a product by its number."""
        return self._read(number)

    def _product(self, number: int) -> Product:
        line = self._lines[int(self._offsets[number]) : int(self._offsets[number + 1])]
        return _of_json(json.loads(line))

    def number(self, asin: str) -> int | None:
        """Return a product's number, None where there is no such product."""
        wanted = np.bytes_(asin.encode())
        at = int(np.searchsorted(self._asins, wanted))
        if at == len(self._asins) or self._asins[at] != wanted:
            return None
        return int(self._order[at])

    @functools.cached_property
    def index(self) -> Index:
        """The index of all products."""
        return Index.load(self._folder / "index")

    def goals(self, kind: str, split: str | None) -> Goals:
        """Return the goals of a kind, in the original's order for their number."""
        found = self._synthetic if kind == "synthetic" else self._human
        numbers = [n for n, g in enumerate(found) if split in (None, split_of(g.asin))]
        return Goals(numbers, found.__getitem__, weighted=True)

    @functools.cached_property
    def _synthetic(self) -> list[Goal]:
        return goals_of.synthetic(
            [
                (self[n], text, tuple(attributes))
                for n, text, attributes in self._wanted("synthetic")
            ]
        )

    @functools.cached_property
    def _human(self) -> list[Goal]:
        return goals_of.human(
            [
                (self[n], [(text, tuple(a), tuple(o)) for text, a, o in wanted])
                for n, wanted in self._wanted("human")
            ]
        )

    def _wanted(self, kind: str) -> Any:
        return json.loads((self._folder / f"{kind}.json").read_text("utf-8"))


def _find(source: Path) -> dict[str, Path]:
    """Return the files of a folder by what is in them; without people's goals there may be none."""
    found = {}
    for what, names in NAMES.items():
        path = next((source / name for name in names if (source / name).is_file()), None)
        if path is not None:
            found[what] = path
        elif what != "human":
            raise UsageError(
                f"webshop: {source} holds no {' or '.join(names)}; give the folder of the "
                "original's data, or catalogue=generated:1000."
            )
    return found


def _prepare(found: Mapping[str, Path], folder: Path) -> None:
    """Read the original's files and write what is mapped later."""
    raw = {what: _load(path, list if what == "products" else dict) for what, path in found.items()}
    asins: list[str] = []
    offsets = [0]
    wanted: dict[str, list[Any]] = {"synthetic": [], "human": []}
    with (folder / "products.jsonl").open("wb") as file:
        for asin, product, told, people in _entries(raw, found["products"]):
            if told.get("instruction"):
                row = [len(asins), told["instruction"], told["instruction_attributes"]]
                wanted["synthetic"].append(row)
            if people:
                wanted["human"].append([len(asins), people])
            asins.append(asin)
            line = json.dumps(astuple(product), ensure_ascii=False, separators=(",", ":"))
            file.write(line.encode("utf-8") + b"\n")
            offsets.append(file.tell())
    with (folder / "products.jsonl").open("rb") as file:
        lines = tqdm(file, total=len(asins), desc="index", unit="product", mininterval=1)
        Index.of(_of_json(json.loads(line)).contents() for line in lines).save(folder / "index")
    names = np.array([asin.encode() for asin in asins], dtype="S10")
    order = np.argsort(names, kind="stable").astype(np.int32)
    np.save(folder / "offsets.npy", np.array(offsets, np.int64))
    np.save(folder / "asins.npy", names[order])
    np.save(folder / "order.npy", order)
    for kind, rows in wanted.items():
        (folder / f"{kind}.json").write_text(json.dumps(rows), "utf-8")
    facts = {
        "files": {what: path.name for what, path in found.items()},
        "products": len(asins),
        "passed_over": len(raw["products"]) - len(asins),
        "with_synthetic_goals": len(wanted["synthetic"]),
        "with_human_goals": len(wanted["human"]),
    }
    (folder / "facts.json").write_text(json.dumps(facts), "utf-8")


def _entries(
    raw: Mapping[str, Any], path: Path
) -> Iterator[tuple[str, Product, Mapping[str, Any], list[list[Any]]]]:
    """Yield each product once, with its name, what is told of it and what people asked for."""
    seen: set[str] = set()
    bar = tqdm(raw["products"], desc="products", unit="product", mininterval=1)
    for number, entry in enumerate(bar, start=1):
        try:
            asin = str(entry["asin"])
            if asin == "nan" or len(asin) > 10 or asin in seen:
                continue
            told = raw["attributes"].get(asin, {})
            product = _read_product(entry, told.get("attributes", [DUMMY]))
            people = _people(raw.get("human", {}).get(asin, ()))
        except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation) as error:
            raise DamagedData(
                f"{path}, product {number}, is not as the original has it "
                f"({type(error).__name__}: {error})."
            ) from error
        seen.add(asin)
        yield asin, product, told, people


def _load(path: Path, kind: type) -> Any:
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedData(f"{path} is not JSON ({error}); fetch it again.") from error
    if not isinstance(data, kind):
        raise DamagedData(f"{path} holds no JSON {kind.__name__}; fetch it again.")
    return data


def _people(entries: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return what people asked for: text, attributes and options of each."""
    return [
        [e["instruction"], list(e["instruction_attributes"]), list(e["instruction_options"])]
        for e in entries
    ]


def _plain(text: str) -> str:
    """Return untrusted text without what could pass for a page's own marks, and not too long.

    The original's data hold nothing that this changes.
    """
    text = _CONTROL.sub(" ", text[:LONGEST]).encode("utf-8", "replace").decode("utf-8")
    return _MARK.sub(lambda found: f"({found.group(1)})", text)


def _read_product(entry: Mapping[str, Any], attributes: Sequence[str]) -> Product:
    """Read a product as the original's `load_products` does."""
    bullets = entry["small_description"]
    lines = bullets if isinstance(bullets, list) else [bullets]
    prices = [
        float(Decimal(re.sub(r"[^\d.]", "", part)))
        for part in (entry.get("pricing") or "").split("$")[1:]
    ] or [100.0]
    tag, price = f"${prices[0]}", prices[0]
    if len(prices) > 1:
        tag = f"${prices[0]} to ${prices[1]}"
        price = draw_for("price", entry["asin"]).uniform(prices[0], prices[1])
    options = {
        _plain(name.lower()): tuple(
            _plain(v["value"].strip().replace("/", " | ").lower()) for v in values
        )
        for name, values in (entry["customization_options"] or {}).items()
        if values is not None
    }
    return Product(
        asin=entry["asin"],
        title=_plain(entry["name"]),
        description=_plain(entry["full_description"] or ""),
        bullets=tuple(_plain(line) for line in lines),
        options=options,
        attributes=tuple(_plain(attribute) for attribute in attributes),
        category=entry["category"],
        categories=entry["product_category"],
        kind=entry["query"].lower().strip(),
        price=price,
        price_tag=tag,
    )


def _of_json(row: Sequence[Any]) -> Product:
    """Read a product from the JSON of its fields in order."""
    asin, title, description, bullets, options, attributes, *rest = row
    groups = {name: tuple(values) for name, values in options.items()}
    return Product(asin, title, description, tuple(bullets), groups, tuple(attributes), *rest)
