"""The command line: run, recommend, export, data, demos, config, compare, doctor."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import rich

from minirec import __version__
from minirec._io import UserError, read_json

if TYPE_CHECKING:
    from minirec.config import Config


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="minirec", description=__doc__)
    parser.add_argument("--version", action="version", version=f"minirec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="from a catalogue and a log to a policy that serves")
    run.add_argument("--data", help="folder with interactions.csv[.gz] and items.csv[.gz]")
    run.add_argument("--config", help="settings as TOML; `minirec config` prints them all")
    run.add_argument("--out", default="runs/latest", help="run folder (default: %(default)s)")
    run.add_argument("--resume", action="store_true", help="go on with an existing run folder")
    run.add_argument("--seed", type=int, default=0, help="first seed (default: %(default)s)")
    run.add_argument("--seeds", type=int, default=1, help="how many seeds (default: %(default)s)")
    run.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    run.set_defaults(act=_run)

    recommend = commands.add_parser("recommend", help="titles in, titles out")
    recommend.add_argument("--run", help="run folder; the policy that comes with minirec if unset")
    recommend.add_argument("--history", required=True, help='"title; title = 2.5", oldest first')
    recommend.add_argument("-k", type=int, default=10, help="how many (default: %(default)s)")
    recommend.set_defaults(act=_recommend)

    export = commands.add_parser("export", help="a policy as two files that serve without torch")
    export.add_argument("--run", help="run folder; the policy that comes with minirec if unset")
    export.add_argument("--out", required=True, help="folder, new or of an earlier export")
    export.set_defaults(act=_export)

    data = commands.add_parser("data", help="public data sets: list all, fetch or check one")
    data.add_argument("asked", choices=["list", "fetch", "check"])
    data.add_argument("name", nargs="?", default="", metavar="NAME", help="or a folder to check")
    data.add_argument("--to", metavar="FOLDER", help="default: $MINIREC_DATA/NAME, or data/NAME")
    data.add_argument("--from", dest="given", metavar="FILE_OR_FOLDER", help="original files")
    data.set_defaults(act=_data)

    demos = commands.add_parser("demos", help="demonstrations: make, import or audit them")
    asked = demos.add_subparsers(dest="asked", required=True, metavar="make|import|audit")
    make = asked.add_parser("make", help="let a chat model recommend, one user an episode")
    make.add_argument("--chat", help="simulated, ollama:MODEL, openai:MODEL or transcript:FILE")
    make.add_argument("--data", help="folder with interactions.csv[.gz] and items.csv[.gz]")
    make.add_argument("--config", help="settings as TOML; `minirec config` prints them all")
    make.add_argument("--episodes", type=int, help="how many users are recommended to")
    make.add_argument("--calls", type=int, help="how many at a time")
    make.add_argument("--hosts", help="addresses of the servers, commas between them")
    make.add_argument("--roles", help="act, think, reflect or billp")
    make.add_argument("--json", action="store_true", default=None, help="ask for JSON objects")
    make.add_argument("--out", default="runs/demos", help="folder (default: %(default)s)")
    make.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    make.add_argument("--resume", action="store_true", help="go on with an existing folder")
    make.set_defaults(act=_make_demos)
    bring = asked.add_parser("import", help="read published trajectories of BiLLP")
    bring.add_argument("source", metavar="FILE_OR_FOLDER", help="of trajs_agent/*.json[.gz]")
    bring.add_argument("--env", help="folder of its datamaps.json (default: ../env of the files)")
    bring.add_argument("--out", required=True, help="folder")
    bring.set_defaults(act=_import_demos)
    audit = asked.add_parser("audit", help="what was bought: a table, and a figure with --out")
    audit.add_argument("files", nargs="+", metavar="FILE", help="demos.jsonl, or its folder")
    audit.add_argument("--out", help="folder for table, figure and numbers")
    audit.set_defaults(act=_audit_demos)

    config = commands.add_parser("config", help="print all settings, their units and defaults")
    config.set_defaults(act=_config)

    compare = commands.add_parser("compare", help="two runs side by side")
    compare.add_argument("runs", nargs=2, metavar="RUN")
    compare.set_defaults(act=_compare)

    doctor = commands.add_parser("doctor", help="versions, device, data, and a 20-second self-test")
    doctor.set_defaults(act=_doctor)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 2 for a mistake that the user can mend, 130 after Ctrl-C."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.act(arguments)
    except (UserError, OSError) as error:
        print(f"minirec: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resume = " with --resume" * hasattr(arguments, "resume")
        print(f"minirec: stopped; the same command{resume} goes on", file=sys.stderr)
        return 130
    return 0


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from minirec import runs
    from minirec.evidence.tables import results_table

    config = _settings(arguments)
    if arguments.seeds < 1:
        raise UserError(f"--seeds is {arguments.seeds}; use 1 or more")
    if arguments.device != "cpu" and not getattr(torch, arguments.device).is_available():
        raise UserError(f"--device {arguments.device} is not available here; use --device cpu")
    torch.set_num_threads(1)  # the tensors are small: a second thread only costs
    results = runs.run(
        config, arguments.out, seeds=list(range(arguments.seed, arguments.seed + arguments.seeds)),
        resume=arguments.resume, device=arguments.device,
        command=shlex.join(["minirec", *sys.argv[1:]]),
    )  # fmt: skip
    rich.print(results_table(results).rich())
    print(f"table, figures and numbers: {Path(arguments.out).resolve()}")


def _settings(arguments: argparse.Namespace) -> Config:
    """Return the settings of the file that was named, with the data folder of the command line."""
    from minirec.config import load_config

    if arguments.seed < 0:
        raise UserError(f"--seed is {arguments.seed}; use 0 or more")
    config = load_config(arguments.config)
    if arguments.data is None:
        return config
    return replace(config, data=replace(config.data, folder=arguments.data))


def _recommend(arguments: argparse.Namespace) -> None:
    from minirec.serve import Recommender, parse_history

    recommender = Recommender.load(arguments.run)
    history = parse_history(arguments.history)
    started = time.perf_counter()
    found = recommender.recommend(history, arguments.k)
    seconds = time.perf_counter() - started
    for place, (title, probability) in enumerate(found, 1):
        print(f"{place:3d}. {title}  ({probability:.1%})")
    print(f"{len(found)} titles in {1000 * seconds:.1f} ms")


def _export(arguments: argparse.Namespace) -> None:
    from minirec.export import ABOUT, ARRAYS, export, load_run

    out = Path(arguments.out)
    if out.is_file() or (out.is_dir() and {f.name for f in out.iterdir()} - {ABOUT, ARRAYS}):
        raise UserError(f"{out} holds something else; choose another folder with --out")
    folder = export(*load_run(arguments.run), out)
    size = sum((folder / name).stat().st_size for name in (ABOUT, ARRAYS))
    print(f"{ABOUT} and {ARRAYS}, {size / 1e6:.2f} MB: {folder.resolve()}")


def _data(arguments: argparse.Namespace) -> None:
    from minirec.data import sources
    from minirec.evidence.tables import Report

    if arguments.asked == "list":
        rows = tuple(sources.overview(name) for name in sources.cards())
        notes = (f"looked for in {sources.home('NAME')}; ? = licence not verified at its source",)
        rich.print(Report(sources.OVERVIEW, rows, notes).rich())
    elif arguments.asked == "fetch":
        folder = sources.fetch(arguments.name, arguments.to, arguments.given)
        words = "{rows:,} rows, {users:,} users, {items:,} items; licence: {licence}; cite: {cite}"
        print(f"{folder}:", words.format_map(sources.record(folder)))
    elif wrong := sources.check(arguments.name):
        raise UserError("; ".join(wrong))
    else:
        print(f"{arguments.name}: nothing differs")


def _make_demos(arguments: argparse.Namespace) -> None:
    import torch

    from minirec import demo_runs
    from minirec.evidence.tables import audit_table

    config, given = _settings(arguments), vars(arguments)
    names = ("chat", "episodes", "calls", "hosts", "roles", "json")
    asked = {name: given[name] for name in names if given[name] is not None}
    for name in ("episodes", "calls"):
        if asked.get(name, 1) < 1:
            raise UserError(f"--{name} is {asked[name]}; use 1 or more")
    config = replace(config, demos=replace(config.demos, **asked))
    torch.set_num_threads(1)
    file = demo_runs.make(config, arguments.out, seed=arguments.seed, resume=arguments.resume)
    found = demo_runs.audits([file])
    demo_runs.report(found, file.parent)
    rich.print(audit_table(found).rich())
    print(f"demonstrations, transcript and audit: {file.parent.resolve()}")


def _import_demos(arguments: argparse.Namespace) -> None:
    from minirec import demo_runs

    print(demo_runs.bring(arguments.source, arguments.out, arguments.env))


def _audit_demos(arguments: argparse.Namespace) -> None:
    from minirec import demo_runs
    from minirec.evidence.tables import audit_table

    found = demo_runs.audits(arguments.files)
    rich.print(audit_table(found).rich())
    if arguments.out is not None:
        demo_runs.report(found, Path(arguments.out))


def _config(arguments: argparse.Namespace) -> None:
    from minirec.config import reference

    print(reference(), end="")


def _compare(arguments: argparse.Namespace) -> None:
    from minirec.evidence.tables import compare

    a, b = (read_json(Path(run) / "results.json") for run in arguments.runs)
    rich.print(compare(a, b).rich())


def _doctor(arguments: argparse.Namespace) -> None:
    import tempfile

    import torch

    from minirec import runs
    from minirec.config import config_from
    from minirec.data import sources
    from minirec.serve import Recommender

    for name, version in runs.versions().items():
        print(f"{name:12s} {version}")
    devices = [name for name in ("cuda", "mps") if getattr(torch, name).is_available()]
    print(f"{'devices':12s} {', '.join(['cpu', *devices])}")
    here = [name for name in sources.cards() if sources.home(name).is_dir()]
    print(f"{'data':12s} {', '.join(here) or 'none (it is optional)'} in {sources.home('')}")
    served = Recommender.load()
    print(f"{'bundled':12s} {len(served.titles)} titles; first for a new user: "
          f"{served.recommend([], 1)[0].title}")  # fmt: skip
    started = time.perf_counter()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        results = runs.run(config_from(runs.TINY), Path(folder) / "run", seeds=[0])
    shares = {m["name"]: m["per_seed"][0]["share_oracle"] for m in results["methods"]}
    if not shares["uniform random"] < shares["feasible oracle"] == 1:
        raise UserError("the self-test's oracle is not best; reinstall minirec")
    print(f"{'self-test':12s} all five stages ran in {time.perf_counter() - started:.0f} s: ok")
