"""Sources: the code of one's own that rounds run on, beside this package.

An environment, a room or a method may be a module of somebody's own. Work that was done on other
code than there is now is done anew when a stage is forced (see `alicebob.experiment.work`), so
these files count. Invariant: the same files in any process, whatever it has imported. Does not:
count what such code reads at run time.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from modulefinder import ModuleFinder
from pathlib import Path

from alicebob.envs import factory, from_here, module_of
from alicebob.envs.hooks import room_of
from alicebob.methods import Method
from alicebob.methods.parts import STAGES

__all__ = ["behind", "sources"]

OWN = __name__.partition(".")[0]


def behind(method: Method, spec: str | None) -> list[Path]:
    """Return the files behind a method and, where one is named, an environment and its room."""
    parts = [method.part(stage) for stage in STAGES]
    modules = {part.run.__module__ for part in parts if part is not None}
    if spec is not None:
        room = room_of(factory(spec))
        modules |= {module_of(spec), *([room] if "." in room else [])}
    return sources(modules)


def sources(modules: Iterable[str]) -> list[Path]:
    """Return the files of modules: of a package all, of what lies here what it imports here too."""
    tops = {name.partition(".")[0] for name in modules} - {OWN}
    return sorted({path for top in tops for path in _files(top)})


def _files(top: str) -> set[Path]:
    here = Path.cwd()
    with from_here():
        spec = importlib.util.find_spec(top)
    if spec is None:
        return set()
    folders = spec.submodule_search_locations or []
    files = {path for folder in folders for path in Path(folder).rglob("*.py")}
    files |= {Path(spec.origin)} if spec.origin and not folders else set()
    finder = ModuleFinder([str(here)])
    for path in sorted(files):
        if path.is_relative_to(here) and "site-packages" not in path.parts:
            finder.run_script(str(path))
            found = (getattr(m, "__file__", None) for m in finder.modules.values())
            files |= {Path(name) for name in found if name}
    return files
