"""Where a row came from and where it went; and how it is forgotten: out of the data, with a list of what holds it.

What does not live here: a row's way through preparing (`data/trace.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from setsail.base.artifact import MANIFEST, Artifact, open_artifact
from setsail.base.errors import ArtifactError, UserError
from setsail.base.files import explained_os_errors, write_atomically
from setsail.base.log import Log
from setsail.base.recipe_file import LoadedRecipe, load_recipe
from setsail.base.run import Run
from setsail.data.keep_out import forgotten_ids
from setsail.data.row import row_id
from setsail.data.trace import Change, Stand, find_in, record_at, rows_about, walk
from setsail.stages.rows.data import ASKED, make_data
from setsail.stages.stage import Voyage

_SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class Held:
    """A data artefact in which a row stands, where, and everything in the run that was made from that data."""

    data: Artifact
    stands: tuple[Stand, ...]
    descendants: tuple[Artifact, ...]


def why(path: Path, name: str, runs: Path, *, as_json: bool = False) -> None:
    """Prints where a row came from, what each step did to it, and which artefacts hold it.

    Raises:
        UserError: no such row in the run's data.
    """
    loaded = load_recipe(path, ())
    run = Run(runs / loaded.recipe.name)
    held = _holding(run, {name})
    if not held:
        raise UserError(
            f'no row "{name}" in the data of this run',
            place=str(run.path),
            hint="name a row by its id or by its place (tickets.csv:7); setsail prepare RECIPE makes the data",
        )
    stand = next(stand for each in held for stand in each.stands)
    source = next((each for each in held[0].stands if not each.made_from), stand)
    record = record_at(loaded.recipe.data, loaded.folder, source.origin)
    same = record is not None and row_id(dict(record.fields), record.origin) == (source.made_from or source.id)
    changes: list[Change] = []
    if record is not None and same:
        changes = list(walk(loaded.recipe.data, loaded.recipe.task, record, base_dir=loaded.folder))
    if as_json:
        print(json.dumps(_as_json(source, held, changes, same), ensure_ascii=False, indent=1))
        return
    for line in [*_way(source, changes, same), *_where(held)]:
        print(line)


def forget(path: Path, names: Sequence[str], runs: Path, *, person: str | None = None, delete: bool = False) -> None:
    """Puts rows on the recipe's list of those to forget, prepares the data again, and says what still holds them.

    `names` are ids or places of rows; `person` a text that stands in them. `delete` removes the folders that hold them.

    Raises:
        UserError: nothing to forget, no such row, or a recipe that names no list.
    """
    loaded = load_recipe(path, ())
    data = loaded.recipe.data
    if data.forget is None:
        raise UserError(
            "the recipe names no list of rows to forget",
            place=loaded.place("data"),
            hint="write data.forget: forget.txt into it: the list must hold for every later run too",
        )
    run = Run(runs / loaded.recipe.name)
    ids = _ids_of(loaded, run, names, person)
    file = loaded.folder / Path(data.forget).expanduser()
    known = forgotten_ids(data.forget, loaded.folder) if file.exists() else frozenset()
    held = _holding(run, set(ids))
    _add_to_list(file, [id for id in ids if id not in known])
    log = Log()
    log.say(f"  {len(ids)} rows are on {file}")
    voyage = Voyage(loaded, run, log)
    with run.locked():
        made = make_data(voyage)
        stale = _stale(run, held)
        for folder in stale if delete else ():
            shutil.rmtree(folder)
    for folder in stale:
        print(f"{'deleted' if delete else 'holds it'}  {folder}")
    print(made.path)
    if stale and not delete:
        log.say(
            "  a model that learned from these rows is among them, where there is one; --delete removes the folders"
        )
    if loaded.recipe.serve.answers is not None:
        log.say(f"  the log of answers is searched by: setsail feedback forget {run.path} --person TEXT")
    log.say(f"next   setsail run {path}")


def _stale(run: Run, held: Sequence[Held]) -> list[Path]:
    """The folders that hold rows which are now forgotten, and those of unfinished work, which may."""
    still = [one for one in held if any(stand.reason != "forgotten" for stand in one.stands)]
    folders = {artifact.path for one in still for artifact in (one.data, *one.descendants)}
    drafts = (path for pattern in ("*.partial", "tune/*.partial", "tune/trials") for path in run.path.glob(pattern))
    return sorted({*folders, *drafts})


def _ids_of(loaded: LoadedRecipe, run: Run, names: Sequence[str], person: str | None) -> list[str]:
    ids: dict[str, None] = {}
    for name in names:
        stands = [stand for held in _holding(run, {name}) for stand in held.stands]
        if not stands:
            raise UserError(
                f'no row "{name}" in the data of this run', place=str(run.path), hint="setsail prepare makes it"
            )
        ids.update(dict.fromkeys(stand.made_from or stand.id for stand in stands))
    if person is not None:
        if not person.strip():
            raise UserError("--person is empty: it would name every row")
        found = dict(rows_about(loaded.recipe.data, loaded.folder, person))
        Log().say(f"  {len(found)} records of the source hold that text: {', '.join(list(found.values())[:5])}")
        ids.update(dict.fromkeys(found))
    if not ids:
        raise UserError("there is nothing to forget", hint="name rows, or --person TEXT that stands in them")
    return list(ids)


def _add_to_list(file: Path, ids: Sequence[str]) -> None:
    before = file.read_text("utf-8") if file.exists() else "# ids of rows to forget; no text of theirs stands here\n"
    today = datetime.now(UTC).date().isoformat()
    with explained_os_errors("writing the list of rows to forget"):
        write_atomically(file, before + "".join(f"{id}  # {today}\n" for id in ids))


def _holding(run: Run, names: Collection[str]) -> list[Held]:
    """The data artefacts of a run in which one of these rows stands, old ones too."""
    artifacts = list(_artifacts(run))
    held = []
    for artifact in artifacts:
        if artifact.manifest.kind in ("data", ASKED):
            stands = find_in(artifact.path, names)
            if stands:
                held.append(Held(artifact, tuple(stands), tuple(_descendants(artifact, artifacts))))
    return held


def _artifacts(run: Run) -> Iterator[Artifact]:
    for manifest in sorted([*run.path.glob(f"*/{MANIFEST}"), *run.path.glob(f"tune/*/{MANIFEST}")]):
        try:
            yield open_artifact(manifest.parent, verify=False)
        except ArtifactError:
            continue  # damaged: it is made again, or was made by a newer setsail


def _descendants(ancestor: Artifact, artifacts: Sequence[Artifact]) -> Iterator[Artifact]:
    of: set[str] = {ancestor.id}
    grown = True
    while grown:
        found = {each.id for each in artifacts if of & set(each.manifest.parents.values())} - of
        grown, of = bool(found), of | found
    yield from (each for each in artifacts if each.id in of and each.id != ancestor.id)


def _way(stand: Stand, changes: Sequence[Change], same: bool) -> list[str]:
    lines = [
        f"row      {stand.id}",
        f"from     {stand.origin}" + (f", made from {stand.made_from}" if stand.made_from else ""),
    ]
    if not same:
        lines.append("         the source has changed since, so that its way cannot be walked again")
    for change in changes:
        if change.dropped:
            lines.append(f"{change.step:<20} dropped: {change.dropped}")
        elif change.before != change.after:
            lines.append(f"{change.step:<20} changed")
            pairs = zip(change.before, change.after, strict=True)
            lines += [f"    - {_shown(b)}\n    + {_shown(a)}" for b, a in pairs if b != a]
        else:
            lines.append(f"{change.step:<20} unchanged")
    return lines


def _shown(text: str) -> str:
    cut = text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "")
    return json.dumps(cut, ensure_ascii=False)


def _where(held: Sequence[Held]) -> list[str]:
    lines = []
    for each in held:
        for stand in each.stands:
            beside = f": {stand.reason} ({stand.detail})".removesuffix(" ()") if stand.reason else ""
            made = f"  made from {stand.made_from}" if stand.made_from else ""
            lines.append(f"{each.data.path}  {stand.part}{beside}{made}")
        if any(stand.part != "dropped" for stand in each.stands):
            lines += [f"  {artifact.path.name}" for artifact in each.descendants]
    return lines


def _as_json(stand: Stand, held: Sequence[Held], changes: Sequence[Change], same: bool) -> dict[str, Any]:
    return {
        "row": asdict(stand),
        "source_unchanged": same,
        "steps": [asdict(change) for change in changes],
        "held": [
            {
                "data": str(each.data.path),
                "stands": [asdict(one) for one in each.stands],
                "made_from_it": [str(artifact.path) for artifact in each.descendants],
            }
            for each in held
        ],
    }
