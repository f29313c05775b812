"""Commands about single dataset versions, which `tunekeeper data` carries: show, tag, revert, blame, merge, bisect."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.visible import line

if TYPE_CHECKING:
    from tunekeeper.data.bisect import Bisected, Sighting
    from tunekeeper.data.revert import Replaced
    from tunekeeper.data.threeway import MergeDone
    from tunekeeper.workspace import Workspace

app = frame.group("Name, compare and bring back dataset versions.")

OptionalModel = Annotated[str | None, typer.Option("--model", help="Model, where VERSION does not name it.")]
Version = Annotated[str, typer.Argument(help="Version or tag, e.g. support-desk/d1; with --model also d1 or `latest`.")]
By = Annotated[str, typer.Option("--by", help="Who does it, for the record.")]


@app.command("show")
def show(version: Version, model: OptionalModel = None, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Say everything that is known about a dataset version.

    Example: tunekeeper data show support-desk/d1
    """
    from tunekeeper.data import tags, versions
    from tunekeeper.data.erase import erased_examples

    ws = frame.workspace(dir)
    found = versions.resolve(ws, version, model)
    keys = ("digest", "parent", "created", "note", "examples", "train", "eval", "manifest", "report")
    answer: dict[str, Any] = {"version": found.id, "model": found.model, **{key: getattr(found, key) for key in keys}}
    answer |= {
        "author": versions.author_of(ws, found),
        "tags": tags.tags_of(ws, found),
        "erased": erased_examples(ws, found),
        "children": [each.id for each in reversed(versions.log(ws, found.model)) if each.parent == found.id],
        "detached": bool(found.report.get("detached")),
    }
    return frame.emit(answer, json, lambda: _shown(answer))


def _shown(answer: dict[str, Any]) -> list[str]:
    from tunekeeper.data.scores import sentence

    report, created = answer["report"], answer["created"]
    lines = [f"{answer['version']}: {answer['train']} rows to learn from, {answer['eval']} held out"]
    lines += [f"digest    {answer['digest']}", f"parent    {answer['parent'] or 'none'}"]
    lines += [f"children  {', '.join(answer['children'])}"] if answer["children"] else []
    lines += [f"created   {created:%Y-%m-%d %H:%M}" if created else "created   not recorded"]
    lines += [f"author    {answer['author'] or 'not recorded'}"]
    lines += [f"tags      {', '.join(answer['tags'])}"] if answer["tags"] else []
    lines += [f"note      {answer['note']}"] if answer["note"] else []
    lines += [f"erased    {answer['erased']} of its {answer['examples']} examples"] if answer["erased"] else []
    lines += ["detached  never `latest`, and nothing grows from it"] if answer["detached"] else []
    lines += [f"origin    {_counts(report['origin'])}"] if report.get("origin") else []
    lines += [f"imports   {_counts(report['imports'])}"] if report.get("imports") else []
    lines += [f"quality   {sentence(report['quality'])}"] if report.get("quality") else []
    lines += [f"topics    {_counts(report['topics'])}"] if report.get("topics") else []
    lines += [f"warning: {warning}" for warning in report.get("warnings", ())]
    return [line(each) for each in lines]


def _counts(named: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)


@app.command("tag")
def tag(
    version: Version,
    name: Annotated[str, typer.Argument(help="Name for it: a letter, then letters, digits, dots and dashes.")],
    move: Annotated[bool, typer.Option("--move", help="Take the name from the version that has it.")] = False,
    by: By = "data",
    model: OptionalModel = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Give a dataset version a name, which then stands wherever a version does.

    Example: tunekeeper data tag support-desk/d3 before-the-fair
    """
    from tunekeeper.data import tags, versions

    ws = frame.workspace(dir)
    found = tags.tag(ws, versions.resolve(ws, version, model), name, move=move, dry_run=dry_run, by=by)
    word = "would be" if dry_run else "is"
    return frame.emit(found, json, f"{found.tag} {word} {found.version}" + (f", was {found.was}" if found.was else ""))


@app.command("revert")
def revert(
    version: Version,
    by: By = "data",
    model: OptionalModel = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Make the draft what a version held; what the draft held is kept as a version.

    Example: tunekeeper data revert support-desk/d2
    """
    from tunekeeper.data.revert import revert

    done = revert(frame.workspace(dir), version, model=model, dry_run=dry_run, by=by)
    if dry_run and done.changed:
        return frame.emit(done, json, f"would make the draft of {done.model} what {done.version} held: {done.examples} rows")
    return frame.emit(done, json, lambda: _replaced(done, f"what {done.version} held"))


def _replaced(done: Replaced, what: str) -> list[str]:
    lines = [f"the draft of {done.model} {'is' if done.changed else 'was already'} {what}: {done.examples} rows"]
    lines += [f"what it held before: {done.kept} (back with: tunekeeper data revert {done.kept})"] if done.kept else []
    return [*lines, f"next: tunekeeper data freeze --model {done.model}"]


@app.command("blame")
def blame(
    example: Annotated[str, typer.Argument(help="Id of the example, as `data diff` names it.")],
    model: frame.Model,
    version: Annotated[str | None, typer.Option("--version", help="Up to this version (default: newest and draft).")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say in which version an example came, out of what, and when it was edited.

    Example: tunekeeper data blame T-1042 --model support-desk
    """
    from tunekeeper.data.blame import blame

    found = blame(frame.workspace(dir), example, model, version=version)
    lines = [f"{found.id}: from {found.source or 'an unnamed source'}"]
    for event in found.events:
        when = f"{event.at:%Y-%m-%d %H:%M}" if event.at else "not frozen yet"
        people = [f"frozen by {event.author}"] if event.author else []
        people += [f"said by {event.said_by}"] if event.said_by else []
        lines.append(f"{event.what:<7}  {event.version}  {when}  {', '.join((*people, event.source))}")
        lines += [f"         {event.detail}"] if event.detail else []
    more = [f"next: tunekeeper show {found.request}"] if found.request else []
    return frame.emit(found, json, [line(each) for each in (*lines, *more)])


@app.command("merge")
def merge(
    a: Version,
    b: Annotated[str, typer.Argument(help="Version to merge into it.")],
    prefer: Annotated[str | None, typer.Option("--prefer", help="a or b: whose rows are taken where they conflict.")] = None,
    by: By = "data",
    model: OptionalModel = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Merge two versions, example by example, into the draft; conflicts leave it alone and exit with 1.

    Example: tunekeeper data merge support-desk/d5 support-desk/d3
    """
    from tunekeeper.core.errors import UserError
    from tunekeeper.data.threeway import merge_versions

    if prefer not in (None, "a", "b"):
        raise UserError(f"--prefer {prefer}: not a or b", fix="--prefer a")
    side: Any = prefer
    done = merge_versions(frame.workspace(dir), a, b, model=model, prefer=side, dry_run=dry_run, by=by)
    return frame.emit(done, json, lambda: _merged(done, dry_run), code=1 if done.conflicts and prefer is None else 0)


def _merged(done: MergeDone, dry_run: bool) -> list[str]:
    from tunekeeper.text.fingerprints import answer_of, prompt_of

    counted = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in done.counts.items())
    lines = [f"{done.a} and {done.b}, which grew from {done.base or 'nothing in common'}: {counted}"]
    for conflict in done.conflicts:
        lines.append(line(f"conflict {conflict.id}: {conflict.why}"))
        rows = (conflict.base, conflict.a, conflict.b)
        told = [row.metadata for row in rows if row is not None]
        differing = sorted(key for key in {*chain.from_iterable(told)} if any(each.get(key) != told[0].get(key) for each in told))
        for name, row in zip(("base", "a", "b"), rows, strict=True):
            text = "–" if row is None else f"{prompt_of(row.messages)} => {answer_of(row.messages)}"
            beside = [] if row is None else [f"; {key}: {row.metadata.get(key, '–')}" for key in differing]
            lines.append(line(f"  {name:<4}  {text}{''.join(beside)}"))
    if done.draft is not None:
        return [*lines, *_replaced(done.draft, f"{done.a} merged with {done.b}")]
    if dry_run:
        return [*lines, f"would make {done.examples} rows the draft"]
    return [*lines, "nothing was written", f"next: tunekeeper data merge {done.a} {done.b} --prefer a|b"]


@app.command("bisect")
def bisect(
    case: Annotated[str, typer.Argument(help="Case of a suite, or id of a held-out example.")],
    model: frame.Model,
    scorer: Annotated[str | None, typer.Option("--scorer", help="Who judges (default: the one behind accuracy).")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say after which dataset version a case broke, by the exams on record; trains nothing. Without any it exits with 3.

    Example: tunekeeper data bisect T-1042 --model support-desk
    """
    from tunekeeper.data import threeway, versions
    from tunekeeper.data.bisect import bisect

    ws = frame.workspace(dir)
    ancestry = threeway.ancestry(ws, versions.latest(ws, model))
    if not ancestry:
        frame.project(dir)[1].model(model)  # a model that is not there is none without exams
    grew_from = {each.id: threeway.grew_from(each) for each in ancestry}
    found = bisect(case, list(grew_from), _sightings(ws, model, case, scorer), grew_from)
    return frame.emit(found, json, lambda: _bisected(found), code=3 if found.verdict == "no exams" else 0)


def _sightings(ws: Workspace, model: str, case: str, scorer: str | None) -> list[Sighting]:
    """What every finished exam of a trained version said about the case, oldest first."""
    from tunekeeper.data.bisect import Sighting
    from tunekeeper.evaluation.exam import results_of
    from tunekeeper.evaluation.results import NOT_ACCURACY, passes
    from tunekeeper.store.ledgers.exams import find_exams
    from tunekeeper.store.ledgers.versions import find_versions

    with ws.state.read() as tx:
        exams = find_exams(tx, model=model, state="done")
        datasets = {each.id: each.dataset for each in find_versions(tx, model=model)}
    # A held-out example is a case of the exam under its version's name: `desk/d2:T3`.
    names = {case, *(f"{dataset}:{case}" for dataset in datasets.values())}
    found = []
    for exam in exams:
        dataset = datasets.get(exam.version)
        results = results_of(ws, exam) if dataset is not None and exam.answers is not None else []
        for result in results:
            judge = scorer or next((name for name in result.scores if name not in NOT_ACCURACY), next(iter(result.scores), ""))
            if dataset is None or result.case not in names or not _was_judged(result.answer, result.scores, judge):
                continue
            right = passes(result, judge)
            found.append(Sighting(dataset=dataset, version=exam.version, exam=exam.id, right=right, answer=result.answer))
    return found


def _was_judged(answer: str | None, scores: dict[str, tuple[float | None, str]], judge: str) -> bool:
    """Whether the exam knows right from wrong: nothing was answered, or the scorer gave a value."""
    return answer is None or scores.get(judge, (None, ""))[0] is not None


def _bisected(found: Bisected) -> list[str]:
    wrong = next((seen.state == "wrong" for seen in found.seen if seen.dataset == found.bad), True)
    first = "that gets it wrong" if wrong else "of which not every model gets it right"
    never = "right with every model" if any(seen.state == "mixed" for seen in found.seen) else "right"
    verdicts = {
        "broke": f"{found.case} broke after {found.good}: {found.bad} is the first {first}",
        "right now": f"{found.case} is right: {found.good} is the newest that an exam asked",
        "never right": f"{found.case} was never {never}: {found.bad} is the first that an exam asked",
        "no exams": f"no exam on record asked a model of these versions for {found.case}",
    }
    lines = [line(verdicts[found.verdict])]
    lines += [f"no exam asked {', '.join(found.between)}: any of them may be the one"] if found.between else []
    rows = [
        (seen.dataset, seen.state, sighting.version if sighting else None, sighting.exam if sighting else None)
        for seen in found.seen
        for sighting in (seen.sightings or (None,))
    ]
    lines += frame.table(rows, ("dataset", "case", "model version", "exam")) if rows else []
    return [*lines, *([f"next: tunekeeper data diff {found.good} {found.bad}"] if found.verdict == "broke" else [])]
