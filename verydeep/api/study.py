"""`verydeep.study`: a description -> trainings, tests and fusions -> the paper's tables and claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.arguments import checked
from verydeep.errors import UsageError, VerydeepError, command_line, escaped
from verydeep.files import write_json, write_text
from verydeep.lock import writing_folder
from verydeep.notes import say
from verydeep.reports.runs import duration
from verydeep.results import Result, in_bytes, rendered
from verydeep.studies import tables as in_tables
from verydeep.studies import verdicts
from verydeep.studies.claims import Claim, judge
from verydeep.studies.cost import Rates, measure, total
from verydeep.studies.curves import gather_curves, write_curves
from verydeep.studies.description import Description, Size, parse, read_text
from verydeep.studies.evidence import gather
from verydeep.studies.outcomes import find_outcomes, write_outcomes
from verydeep.studies.page import render
from verydeep.studies.progress import Progress
from verydeep.studies.run import Launch, StudyRun
from verydeep.studies.state import DESCRIPTION, Ledger, fingerprints, states
from verydeep.studies.tables import Table
from verydeep.studies.workflow import DATA, make_workflow

TERA = 1e12
PAGE = "index.html"


@dataclass(frozen=True, repr=False)
class StudyPlan(Result):
    """What a study would do.

    Attributes:
        run: the steps, their states and costs, not carried out.

    """

    run: StudyRun

    def to_dict(self) -> dict[str, Any]:
        """Each step with its command, and what all of them take."""
        run, whole = self.run, total(self.run.costs) if self.run.costs else None
        steps = [
            {
                "name": step.name,
                "kind": step.kind,
                "command": step.shown(run.data, run.out),
                "needs": list(step.needs),
                "state": run.states[step.name],
                "seconds": run.seconds(step),
                "disk_bytes": run.costs[step.name].disk if run.costs else None,
            }
            for step in run.workflow.steps.values()
        ]
        return {
            "title": run.workflow.description.title,
            "out": str(run.out),
            "data": run.data,
            "size": asdict(run.size) if run.size else None,
            "steps": steps,
            "seconds_left": run.left(),
            "disk_bytes": whole.disk if whole else None,
            "multiply_adds": whole.multiply_adds if whole else None,
        }

    def __str__(self) -> str:
        """A line for each step, with the numbers of those that it needs, and the command."""
        run, lines = self.run, [escaped(self.run.workflow.description.title), ""]
        numbers = {name: number for number, name in enumerate(run.workflow.steps, 1)}
        for step in run.workflow.steps.values():
            seconds = run.seconds(step)
            needs = f"after {', '.join(str(numbers[need]) for need in step.needs)}" if step.needs else ""
            time = "" if seconds is None else f"about {duration(seconds)}"
            facts = ", ".join(word for word in (run.states[step.name], needs, time) if word)
            lines += [
                f"{numbers[step.name]:3d}. {step.name}: {facts}",
                f"     {escaped(step.shown(run.data, run.out))}",
            ]
        return "\n".join([*lines, "", self._sum()])

    def _sum(self) -> str:
        if not self.run.costs:
            return f"{len(self.run.states)} steps; time and disk take the data, or [size] in the description"
        whole = total(self.run.costs)
        return (
            f"{self.run}, {in_bytes(int(whole.disk))} of disk, {whole.multiply_adds / TERA:,.0f} tera "
            "multiply-adds; time is a rough guess until the first training is done"
        )


@dataclass(frozen=True, repr=False)
class StudyReport(Result):
    """What a study has found out.

    Attributes:
        tables: the paper's Tables 3 to 6, with our errors beside the published ones.
        claims: of the paper, each with its verdict.
        failed: steps that could not be done, and why.

    """

    tables: list[Table]
    claims: list[Claim]
    failed: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Every seed's errors and each statement's interval."""
        return {
            "tables": [table.to_json() for table in self.tables],
            "claims": [claim.to_json() for claim in self.claims],
            "failed": dict(self.failed),
        }

    def failure(self) -> VerydeepError | None:
        """The first step that failed, and how many did."""
        if not self.failed:
            return None
        first, reason = next(iter(self.failed.items()))
        return VerydeepError(
            f"{len(self.failed)} steps could not be done; the first is {first}: {reason}; repeat the command to "
            "try them again"
        )

    def __str__(self) -> str:
        tables = in_tables.text_tables(self.tables)
        if any(claim.statements for claim in self.claims):
            tables = [*tables, verdicts.terminal_table(self.claims)]
        return rendered(*(table.rich() for table in tables))


@checked
def study(
    file: str | PathLike[str] | None = None,
    *,
    out: str | PathLike[str] | None = None,
    data: str | None = None,
    dry_run: bool = False,
    report: bool = False,
    processes: int = 1,
    launch: str = "",
    speed: float | None = None,
) -> StudyPlan | StudyReport:
    """Train, test and fuse several networks, and test the paper's claims.

    The description is a TOML file: which networks, how each is trained and tested, and what is fused. Each step
    is a command; `dry_run` shows them. An interrupted study resumes when the command is repeated. If a step
    fails, the study continues with the steps that do not need it.

    The folder gets the paper's Tables 3 to 6 with the published figures: tables.md, tables.csv, claims.json and a
    page, index.html. `report` makes these from the results so far.

    Args:
        file: the description, a TOML file; or one of those that are shipped: digits, cifar10, photos, imagenet.
        out: folder for the whole study.
        data: the labelled images, as `verydeep.train` takes them (default: where the description says).
        dry_run: show the steps, what they need, and about how long they take; run nothing.
        report: make the tables and the page of the study that is in `out`; run nothing.
        processes: processes of this machine that share each step.
        launch: words that start each step's processes, put before `-m verydeep ...`: "torchrun --nproc-per-node
            4", or what starts torchrun on several machines.
        speed: tera multiply-adds a second that a training reaches here, for the estimates (default: a guess).

    Raises:
        UsageError: the description is wrong, or the request cannot be carried out.
        DataError: the data is not there.
        BusyError: another study, or a step of one that was killed, is at work in the folder.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was running has saved its state.

    """
    if out is None:
        raise UsageError("a study needs a folder: give `out`")
    folder = Path(out)
    if report:
        if file or dry_run or data or launch or processes != 1:
            raise UsageError(f"`report` runs nothing; use {command_line('study', '--out', folder, '--report')}")
        return make_report(folder)
    if file is None:
        raise UsageError("a study needs a description: give `file`, or `report` for the study that is in `out`")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for the study")
    if speed is not None and not 0 < speed < 1e9:
        raise UsageError(f"`speed` is {speed}; it must be above 0 (tera multiply-adds per second)")
    text = read_text(str(file))
    description = parse(text, str(file))
    where = data or description.data
    if where is None:
        raise UsageError("the description does not say where the data is; give it by `data`")
    where = Ledger(folder).as_given(where)
    starts = Launch(processes, launch)
    size, images = look_at(where, description, must_be_there=not dry_run)
    rate = speed * TERA if speed else measure()

    def prepare() -> StudyRun:
        rates = Rates(rate, said=bool(speed))
        return StudyRun(make_workflow(description), folder, where, size, rates, starts, images)

    if dry_run:
        return StudyPlan(prepare())
    prepare()  # which refuses before there is a folder
    with writing_folder(folder) as held:
        run = prepare()  # anew: what another has done until now
        write_text(folder / DESCRIPTION, text)
        say(f"{description.title}: {run}")
        try:
            with Progress(len(run.states)) as progress:
                failed = run.run(progress, held)
        except KeyboardInterrupt:
            same = ["--data", data] if data else []
            same += ["--processes", str(processes)] if processes != 1 else []
            same += ["--launch", launch] if launch else []
            so_far = command_line("study", "--out", folder, "--report")
            say(
                f"stopped; {command_line('study', file, '--out', folder, *same)} resumes it, {so_far} shows the "
                "results so far"
            )
            raise
        return make_report(folder, failed, where)


def look_at(data: str, description: Description, *, must_be_there: bool) -> tuple[Size | None, str | None]:
    """How much data there is, and the fingerprint of its training images; None for what cannot be told.

    The description may say the size of data that need not be there.
    """
    from verydeep.evaluation.test_set import default_part
    from verydeep.images.sources import open_data

    try:
        found = open_data(data)
        tested = found.part(default_part(found)) if not found.undivided else found.held_out
        return Size(len(found.train), len(tested), len(found.class_names)), found.train.fingerprint
    except VerydeepError as error:
        if must_be_there:
            raise
        say(f"note: {error}" + "; the estimates are for the size in the description" * bool(description.size))
        return description.size, None


def make_report(out: Path, failed: Mapping[str, str] | None = None, data: str | None = None) -> StudyReport:
    """Write the tables, the claims and the page of what there is.

    Args:
        out: the study's folder.
        failed: steps that could not be done, and why.
        data: of the study (default: what its trainings were trained on).

    Raises:
        UsageError: the folder is not a study's.

    """
    path = out / DESCRIPTION
    if not path.is_file():
        raise UsageError(
            f"{out} has no {DESCRIPTION}: it is not a study's folder; "
            f"{command_line('study', 'FILE', '--out', out)} makes one"
        )
    workflow = make_workflow(parse(read_text(str(path)), str(path)))
    ledger = Ledger(out)
    where = data or ledger.data or workflow.description.data
    prints = fingerprints(workflow, where or DATA)
    outcomes = find_outcomes(workflow, out, prints, ledger)
    write_outcomes(workflow, out, outcomes)
    evidence = gather(workflow, outcomes, where or "DATA")
    tables, claims = in_tables.make_tables(evidence), judge(evidence)
    curves = gather_curves(workflow, out)
    write_curves(workflow, out, curves)
    title = f"# {workflow.description.title}"
    write_text(out / "tables.md", "\n".join([title, "", in_tables.markdown(tables), verdicts.markdown(claims)]))
    write_text(out / "tables.csv", in_tables.comma_separated(tables))
    write_json(out / "claims.json", [claim.to_json() for claim in claims])
    try:
        found = states(workflow, out, prints, ledger, outcomes)
        write_text(out / PAGE, render(workflow, outcomes, found, evidence, tables, claims, curves, out))
        say(f"{out / PAGE}: {verdicts.headline(claims)}")
    except VerydeepError as error:  # the page is an extra
        say(f"the page was not made: {error}")
    return StudyReport(tables, claims, failed or {})
