"""Text WebShop beside the original: the same pages and rewards, and how fast they come.

    git clone https://github.com/princeton-nlp/WebShop UPSTREAM
    pip install beautifulsoup4 flask rich
    python benchmarks/webshop.py beside --upstream UPSTREAM --data DIR
    python benchmarks/webshop.py policies --data DIR
    python benchmarks/webshop.py large --products 1000000

`beside` plays the same random actions in both, in one process, and stops where an observation, a
list of what can be clicked or a reward differs. The original runs as it is but for its heavy
neighbours: gym, cleantext and rank_bm25 are empty, pyserini asks this project's index (which
is compared with Lucene's own answers in the tests), spaCy tags by the rule that this project falls
back on; and it is given our draws of prices, which it makes anew in every process.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from alicebob.envs.webshop import WebShop
from alicebob.envs.webshop.product import Goal
from alicebob.envs.webshop.reward import CONTENT_WORDS


def original(upstream: Path, data: Path, ours: WebShop, mode: str) -> Any:
    """Return the original's text environment on the same data, goals and prices."""
    sys.path.insert(0, str(upstream))
    for name in ("gym", "cleantext", "rank_bm25", "spacy", "pyserini"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["gym"].Env = object
    registration = types.ModuleType("gym.envs.registration")
    registration.register = lambda **_: None
    sys.modules["gym.envs"] = types.ModuleType("gym.envs")
    sys.modules["gym.envs.registration"] = registration
    sys.modules["rank_bm25"].BM25Okapi = object
    site = types.ModuleType("web_agent_site.envs")  # without the one that drives a browser
    site.__path__ = [str(upstream / "web_agent_site/envs")]
    sys.modules["web_agent_site.envs"] = site

    def tagged(text: str) -> list[Any]:
        return [types.SimpleNamespace(text=w, pos_="NOUN") for w in CONTENT_WORDS.nouns(text)]

    sys.modules["spacy"].load = lambda _: tagged

    class Searcher:
        def __init__(self, _: str) -> None:
            pass

        def search(self, words: str, k: int) -> list[Any]:
            return [types.SimpleNamespace(docid=n) for n in ours.catalogue.index.search(words, k)]

        def doc(self, number: int) -> Any:
            raw = json.dumps({"id": ours.catalogue[number].asin})
            return types.SimpleNamespace(raw=lambda: raw)

    lucene = types.ModuleType("pyserini.search.lucene")
    lucene.LuceneSearcher = Searcher
    sys.modules["pyserini.search"] = types.ModuleType("pyserini.search")
    sys.modules["pyserini.search.lucene"] = lucene
    import web_agent_site.utils as utils

    utils.DEFAULT_ATTR_PATH = str(data / "items_ins_v2_1000.json")
    utils.HUMAN_ATTR_PATH = str(data / "items_human_ins.json")
    utils.DEFAULT_FILE_PATH = str(data / "items_shuffle_1000.json")
    from web_agent_site.envs.web_agent_text_env import WebAgentTextEnv

    found = WebAgentTextEnv(mode, file_path=utils.DEFAULT_FILE_PATH, num_products=1000)
    theirs = found.server.goals
    if [bare(g) for g in theirs] != [bare(g) for g in ours.goals]:
        sys.exit("the goals differ, or their order does")
    for goal, own in zip(theirs, ours.goals, strict=True):
        goal |= {"price_upper": own.price_upper, "instruction_text": own.instruction}
    for asin in found.server.product_prices:
        number = ours.catalogue.number(asin)
        assert number is not None
        found.server.product_prices[asin] = ours.catalogue[number].price
    return found


def bare(goal: Goal | Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a goal without its price, which the original draws anew."""
    if isinstance(goal, Goal):
        return (goal.asin, goal.attributes, goal.options, round(goal.weight, 12))
    return (
        goal["asin"],
        tuple(goal["attributes"]),
        goal["goal_options"],
        round(goal["weight"], 12),
    )


def next_action(draw: random.Random, clickables: list[str], bar: bool, wish: str) -> str:
    """Return a random action that both know."""
    words = wish.split()
    if bar or draw.random() < 0.05:
        some = words if draw.random() < 0.5 else draw.sample(words, min(3, len(words)))
        return f"search[{' '.join(some)}]"
    if "buy now" in clickables and draw.random() < 0.1:
        return "click[buy now]"
    return f"click[{draw.choice(clickables)}]"


@click.group()
def main() -> None:
    """Measure one of the three."""


@main.command()
@click.option("--upstream", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--turns", default=1000, show_default=True)
@click.option("--mode", type=click.Choice(["text", "text_rich"]), default="text")
def beside(upstream: Path, data: Path, turns: int, mode: str) -> None:
    """Play the same actions in both; stop at the first difference; print the ratios of time."""
    ours = WebShop(str(data), observation=mode, tagger="content-words", limit=10**9)
    peer = original(upstream, data, ours, mode)
    draw, played, bought = random.Random(7), 0, 0
    episodes: list[tuple[int, list[str]]] = []
    took: dict[str, list[float]] = {"click": [], "search": []}
    while played < turns:
        number = draw.randrange(len(ours.goals))
        theirs = peer.reset(session=number)[0]
        text, info = ours.reset(options={"goal": number})
        history: list[str] = []
        episodes.append((number, history))
        for _ in range(30):
            asked = peer.get_available_actions()
            clickables = [c for c in asked["clickables"] if c != "search"]
            told = [a for a in info["admissible_actions"] if a.startswith("click")]
            if text != theirs or told != [f"click[{c}]" for c in clickables]:
                sys.exit(f"after {history}:\n--- theirs\n{theirs!r}\n--- ours\n{text!r}\n{told}")
            wish = ours.goals[number].instruction
            action = next_action(draw, clickables, asked["has_search_bar"], wish)
            history.append(action)
            begun = time.perf_counter()
            theirs, reward, done, _ = peer.step(action)
            took[action.partition("[")[0]].append(time.perf_counter() - begun)
            text, own, over, _, info = ours.step(action)
            played += 1
            if (reward, done) != (own, over) or info["invalid_action"]:
                sys.exit(f"after {history}: reward {reward} beside {own}, {info}")
            if done:
                bought += 1
                break
        peer.server.user_sessions.clear()
    click.echo(f"{played} turns and {bought} purchases the same, {mode}")
    # Ours again, in an environment that has seen nothing yet, without the other in between.
    fresh = WebShop(str(data), observation=mode, tagger="content-words", limit=10**9)
    again: dict[str, list[float]] = {"click": [], "search": []}
    for number, history in episodes:
        fresh.reset(options={"goal": number})
        for action in history:
            begun = time.perf_counter()
            fresh.step(action)
            again[action.partition("[")[0]].append(time.perf_counter() - begun)
    for kind, times in took.items():
        theirs_took, ours_took = statistics.median(times), statistics.median(again[kind])
        mean = statistics.fmean(times) / statistics.fmean(again[kind])
        click.echo(
            f"{kind}: {1 / theirs_took:,.0f} turns/s beside {1 / ours_took:,.0f}, "
            f"{theirs_took / ours_took:,.0f} x (medians of {len(times)}), {mean:,.0f} x (means)"
        )


def literal(env: WebShop, wish: str, groups: Mapping[str, Any]) -> None:
    """Choose the option values that stand in the wish."""
    for values in groups.values():
        found = [v for v in values if v and v in wish]
        if found:
            env.step(f"click[{max(found, key=len)}]")


def bought_by(env: WebShop, number: int, policy: str, draw: random.Random) -> float:
    """Return the reward of one of the policies for a goal."""
    goal = env.goals[number]
    _, info = env.reset(options={"goal": number})
    wish = goal.instruction.lower()
    if policy == "oracle":
        *_, info = env.step(f"search[{wish}]")
        asin = goal.asin.lower()
        for _ in range(4):
            if f"click[{asin}]" in info["admissible_actions"]:
                break
            *_, info = env.step("click[next >]")
        if f"click[{asin}]" not in info["admissible_actions"]:
            *_, info = env.step(f"search[{goal.name}]")
            if f"click[{asin}]" not in info["admissible_actions"]:
                return 0.0
    else:
        words = wish if policy != "random" else draw.choice(env.catalogue).title
        *_, info = env.step(f"search[{words}]")
        links = [a[6:-1] for a in info["admissible_actions"][1:] if "next >" not in a]
        if not links:
            return 0.0
        asin = links[0]
    *_, info = env.step(f"click[{asin}]")
    product = env.catalogue[env.catalogue.number(asin.upper()) or 0]
    if policy == "random":
        for values in product.options.values():
            env.step(f"click[{draw.choice(values)}]")
    elif policy == "literal":
        literal(env, wish, product.options)
    elif policy == "oracle":
        values = goal.options.values() if isinstance(goal.options, Mapping) else goal.options
        for value in values:
            env.step(f"click[{value}]")
    return env.step("click[buy now]")[1]


@main.command()
@click.option("--data", default="generated:1000", show_default=True, help="A catalogue.")
@click.option("--goals", "kind", default="synthetic", show_default=True)
@click.option("--count", default=500, show_default=True)
@click.option("--tagger", default="content-words", show_default=True)
@click.option("--split", help="Of whose goals; without it of all.")
def policies(data: str, kind: str, count: int, tagger: str, split: str | None) -> None:
    """Print what four simple policies get for the first goals."""
    env = WebShop(data, goals=kind, tagger=tagger, limit=10**6, split=split)
    for policy in ("random", "buy-first", "literal", "oracle"):
        draw = random.Random(0)
        rewards = [bought_by(env, n, policy, draw) for n in range(min(count, len(env.goals)))]
        click.echo(
            f"{policy:10} reward {100 * statistics.fmean(rewards):5.1f}, success "
            f"{100 * statistics.fmean(r == 1.0 for r in rewards):5.1f} % of {len(rewards)}"
        )


@main.command()
@click.option("--products", default=1_000_000, show_default=True)
@click.option("--queries", default=300, show_default=True)
def large(products: int, queries: int) -> None:
    """Open a large generated catalogue and search it; the first time builds the index."""
    begun = time.perf_counter()
    env = WebShop(f"generated:{products}", limit=10**6)
    _ = env.catalogue.index
    env.reset(seed=0)
    env.step("search[warm]")
    click.echo(f"opened in {time.perf_counter() - begun:.1f} s, {len(env.goals):,} goals")
    times = []
    for number in range(queries):
        env.reset(seed=number)
        assert env.goal is not None
        wish = env.goal.instruction
        begun = time.perf_counter()
        env.step(f"search[{wish}]")
        times.append(time.perf_counter() - begun)
    times.sort()
    click.echo(
        f"search: median {1e3 * times[len(times) // 2]:.1f} ms, nine in ten below "
        f"{1e3 * times[9 * len(times) // 10]:.1f} ms; "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
