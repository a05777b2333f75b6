"""`verydeep study`: a description -> trainings, tests and fusions -> the paper's tables and claims."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.api.describe import in_bytes as bytes_for_people
from verydeep.commands.command import json_line
from verydeep.errors import UsageError, VerydeepError
from verydeep.files import write_json, write_whole
from verydeep.notes import say
from verydeep.reports.runs import duration
from verydeep.studies import tables as in_tables
from verydeep.studies import verdicts
from verydeep.studies.claims import Claim, judge
from verydeep.studies.cost import Rates, measure, total
from verydeep.studies.description import Description, Size, parse, read_text
from verydeep.studies.evidence import gather
from verydeep.studies.page import render
from verydeep.studies.plan import Plan, Step, data_of, make_plan
from verydeep.studies.run import Launch, Teller, Work, overview
from verydeep.studies.state import DESCRIPTION, lock
from verydeep.studies.tables import Table

TERA = 1e12
PAGE = "index.html"


@dataclass
class Study:
    """Train, test and fuse a table's worth of networks, and put the paper's claims to the test.

    FILE says in TOML which networks, how each is trained and tested, and what is fused; or it is one of those that
    are shipped: digits, cifar10, photos, imagenet. Each step is a command that --dry-run shows. A study that was
    interrupted goes on by the same command.

    OUT gets the paper's Tables 3 to 6 with the published figures beside: tables.md, tables.csv, claims.json and a
    page, index.html. `verydeep study --report OUT` makes them of what is there.
    """

    file_and_out: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="FILE OUT")] = ()
    """The description, and the folder for all that comes of it."""
    report: Path | None = None
    """Make the tables and the page of this study's folder, and run nothing."""
    dry_run: FlagCreatePairsOff[bool] = False
    """Show the steps, what they need, and about how long they take; run nothing."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""
    data: str | None = None
    """Where the pictures are, as for `train`; by default where the description says."""
    processes: int = 1
    """Processes of this machine that share each step."""
    launch: str = ""
    """Words that start each step's processes, put before `-m verydeep ...`: "torchrun --nproc-per-node 4", or what
    starts torchrun on several machines."""
    speed: float | None = None
    """Tera multiply-adds a second that a training reaches here, for the estimates; by default it is guessed."""

    def run(self) -> None:
        """Make the plan, show it or carry it out, and report."""
        if self.report:
            self._check_report()
            self._report(self.report)
            return
        if len(self.file_and_out) != 2:
            raise UsageError("study takes a description and a folder, FILE OUT; or --report OUT")
        file, out = self.file_and_out[0], Path(self.file_and_out[1])
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file; give a folder for the study")
        text = read_text(file)
        description = parse(text, file)
        work = self._work(description, out)
        if self.dry_run:
            self._show(work)
            return
        with lock(out) as held:
            work = self._work(description, out, work)  # anew: what another has done until now
            write_whole(out / DESCRIPTION, lambda aside: aside.write_text(text, encoding="utf-8"))
            failed = self._carry_out(work, held)
            self._report(out)
        if failed:
            first = next(iter(failed))
            raise VerydeepError(
                f"{len(failed)} of {len(work.states)} steps could not be done; the first is {first}: "
                f"{failed[first]}; the same command tries them again"
            )

    def _check_report(self) -> None:
        if self.file_and_out or self.dry_run or self.data or self.launch or self.processes != 1:
            raise UsageError("--report OUT runs nothing; it takes --json alone beside it")

    def _work(self, description: Description, out: Path, before: Work | None = None) -> Work:
        if self.speed is not None and not 0 < self.speed < 1e9:
            raise UsageError(f"--speed is {self.speed}; it has to be above 0, in tera multiply-adds a second")
        data = data_of(description, self.data)
        launch = Launch(self.processes, self.launch)
        size = before.size if before else data_size(data, description, must_be_there=not self.dry_run)
        rates = Rates(self.speed * TERA, said=True) if self.speed else Rates(measure())
        return Work(make_plan(description), out, data, size, rates, launch)

    def _show(self, work: Work) -> None:
        plain = dry_run(work)
        if self.json:
            print(json_line(plain))
        else:
            print(readable_plan(work, plain))

    def _carry_out(self, work: Work, held: int) -> dict[str, str]:
        say(f"{work.plan.description.title}: {overview(work)}")
        try:
            with _teller(work) as teller:
                return work.run(teller, held)
        except KeyboardInterrupt:
            say(f"stopped; the same command goes on: verydeep study {' '.join(self.file_and_out)}")
            raise

    def _report(self, out: Path) -> None:
        report = make_report(out)
        if self.json:
            print(json_line(report.to_json()))
        else:
            report.show()


def data_size(data: str, description: Description, *, must_be_there: bool) -> Size | None:
    """How much data there is: what the description says, or what is counted; None where neither can be."""
    from verydeep.evaluation.test_set import default_part
    from verydeep.images.sources import open_data

    if not must_be_there and description.size:
        return description.size
    try:
        found = open_data(data)
    except VerydeepError:
        if must_be_there:
            raise
        return description.size
    tested = found.part(default_part(found)) if not found.undivided else found.held_out
    return Size(len(found.train), len(tested), len(found.class_names))


def dry_run(work: Work) -> dict[str, Any]:
    """The plan as plain data."""
    steps = [
        {
            "name": step.name,
            "kind": step.kind,
            "command": step.shown(work.data, work.out),
            "needs": list(step.needs),
            "state": work.states[step.name],
            "seconds": work.seconds(step),
            "disk_bytes": work.costs[step.name].disk if work.costs else None,
        }
        for step in work.plan.steps.values()
    ]
    return {
        "title": work.plan.description.title,
        "out": str(work.out),
        "data": work.data,
        "size": asdict(work.size) if work.size else None,
        "steps": steps,
        "seconds_left": work.left(),
        "disk_bytes": total(work.costs).disk if work.costs else None,
        "multiply_adds": total(work.costs).multiply_adds if work.costs else None,
    }


def readable_plan(work: Work, plain: dict[str, Any]) -> str:
    """The plan for people: a line a step, with the numbers of those that it needs, and the command."""
    numbers = {step["name"]: number for number, step in enumerate(plain["steps"], 1)}
    lines = [plain["title"], ""]
    for step in plain["steps"]:
        needs = f"after {', '.join(str(numbers[need]) for need in step['needs'])}" if step["needs"] else ""
        time = "" if step["seconds"] is None else f"about {duration(step['seconds'])}"
        facts = ", ".join(word for word in (step["state"], needs, time) if word)
        lines += [f"{numbers[step['name']]:3d}. {step['name']}: {facts}", f"     {step['command']}"]
    return "\n".join([*lines, "", _sum(work, plain)])


def _sum(work: Work, plain: dict[str, Any]) -> str:
    if not work.costs:
        return f"{len(plain['steps'])} steps; time and disk take the data, or [size] in the description"
    return (
        f"{overview(work)}, {bytes_for_people(plain['disk_bytes'])} of disk, "
        f"{plain['multiply_adds'] / TERA:,.0f} tera multiply-adds; time is a rough guess until the first "
        "training is done"
    )


@dataclass(frozen=True)
class Reported:
    """What a study has found out, laid out."""

    tables: list[Table]
    claims: list[Claim]

    def to_json(self) -> dict[str, Any]:
        """All of it for programs."""
        return {"tables": in_tables.to_json(self.tables), "claims": [claim.to_json() for claim in self.claims]}

    def show(self) -> None:
        """Print it."""
        from rich.console import Console

        console = Console(highlight=False, width=None if Console().is_terminal else 160)
        for table in in_tables.rich_tables(self.tables):
            console.print(table)
        console.print(verdicts.rich_table(self.claims))


def make_report(out: Path) -> Reported:
    """Write the tables, the claims and the page of what there is.

    Raises:
        UsageError: the folder is not a study's.

    """
    plan = read_plan(out)
    evidence = gather(plan, out)
    tables, claims = in_tables.make_tables(evidence), judge(evidence)
    text = "\n".join([f"# {plan.description.title}", "", in_tables.markdown(tables), verdicts.markdown(claims)])
    _write(out / "tables.md", text)
    _write(out / "tables.csv", in_tables.comma_separated(tables))
    write_json(out / "claims.json", [claim.to_json() for claim in claims])
    try:
        _write(out / PAGE, render(plan, evidence, tables, claims, out))
        say(f"{out / PAGE}: {verdicts.headline(claims)}")
    except VerydeepError as error:  # the page is an extra
        say(f"there is no page: {error}")
    return Reported(tables, claims)


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def read_plan(out: Path) -> Plan:
    """The plan of a study that has begun.

    Raises:
        UsageError: the folder is not a study's.

    """
    path = out / DESCRIPTION
    if not path.is_file():
        raise UsageError(
            f"{out} has no {DESCRIPTION}: it is not a study's folder; `verydeep study FILE OUT` makes one"
        )
    return make_plan(parse(read_text(str(path)), str(path)))


@contextmanager
def _teller(work: Work) -> Iterator[Teller]:
    """What tells a person how it goes: a bar where there is a terminal, else a line for each step."""
    if not sys.stderr.isatty():
        yield LineTeller(len(work.states))
        return
    with BarTeller(len(work.states)) as bar:
        yield bar


class LineTeller:
    """Tells how a study goes by a line for each step.

    Args:
        count: of the steps.

    """

    def __init__(self, count: int) -> None:
        self._count = count

    def begin(self, number: int, step: Step, left: float | None) -> None:
        """A step begins."""
        self._say(f"[{number}/{self._count}] {step.name}{_left(left)}")

    def along(self, share: float, left: float | None) -> None:
        """Nothing is said within a step."""

    def end(self, step: Step, seconds: float, problem: str) -> None:
        """A step has ended."""
        self._say(f"{step.name}: {problem}" if problem else f"{step.name}: {duration(seconds)}")

    def _say(self, line: str) -> None:
        say(line)


class BarTeller(LineTeller):
    """The same, with a bar of the whole study below.

    Args:
        count: of the steps.

    """

    def __init__(self, count: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        super().__init__(count)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=1.0)
        self._doing = ""

    def __enter__(self) -> BarTeller:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def begin(self, number: int, step: Step, left: float | None) -> None:
        """A step begins."""
        self._doing = f"[{number}/{self._count}] {step.name}".replace("[", "\\[")
        self._bar.update(self._task, description=self._doing + _left(left))

    def along(self, share: float, left: float | None) -> None:
        """A step goes on."""
        self._bar.update(self._task, completed=share, description=self._doing + _left(left))

    def _say(self, line: str) -> None:
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f", about {duration(seconds)} left in all"
