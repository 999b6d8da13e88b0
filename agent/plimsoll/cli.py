"""
The command line: a contract scripts rely on.

Exit codes: 0 done; 1 failed at run time; 2 wrong usage; 69 what was asked does not answer; 75 another agent holds this
node; 78 the configuration is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from plimsoll import __version__, status
from plimsoll.config.loader import ConfigFile, load_config
from plimsoll.config.problem import ConfigError
from plimsoll.config.schema import Config
from plimsoll.daemon import Agent, AlreadyRunning
from plimsoll.log import configure
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Result
from plimsoll.model.snapshot import Capability
from plimsoll.once import capabilities, node_name_default, one_page, plan, restore
from plimsoll.options import Options
from plimsoll.simulator import demo

EX_OK, EX_FAILED, EX_USAGE, EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 0, 1, 2, 69, 75, 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    options = _parser().parse_args(arguments)
    configure(level="warning", style="console")
    try:
        return int(options.run(options))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EX_CONFIG
    except AlreadyRunning as error:
        print(f"plimsoll: {error}", file=sys.stderr)
        return EX_TEMPFAIL
    except (OSError, ValueError) as error:
        print(f"plimsoll: {error}", file=sys.stderr)
        return EX_FAILED
    except KeyboardInterrupt:
        return EX_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plimsoll",
        description="Kubernetes node agent for co-locating pods.",
        epilog=(__doc__ or "").strip().rpartition("\n\n")[2],
    )
    parser.add_argument("--version", action="version", version=f"plimsoll {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the agent")
    _host(run)
    run.add_argument("--listen", metavar="ADDRESS:PORT", help="overrides http.listen")
    _state(run)
    run.add_argument("--duration", type=float, metavar="SECONDS", help="stop by itself")
    run.set_defaults(run=_run)

    metrics = commands.add_parser("metrics", help="observe once and print the metrics")
    _host(metrics)
    metrics.set_defaults(run=_metrics)

    planned = commands.add_parser("plan", help="what would be written, why, and what stands there; nothing is written")
    _host(planned)
    _state(planned)
    planned.add_argument("--format", choices=("table", "json"), default="table")
    planned.set_defaults(run=_plan)

    restored = commands.add_parser("restore", help="put back what an agent that no longer runs has left")
    restored.add_argument("--root", default="/", metavar="DIR", help="the host's root directory")
    _state(restored)
    restored.add_argument("--all", action="store_true", help="also what is meant to stay, as far as the kernel lets it")
    restored.set_defaults(run=_restore)

    doctor = commands.add_parser("doctor", help="what this node can do and, where it cannot, why and the cure")
    doctor.add_argument("--root", default="/", metavar="DIR", help="the host's root directory")
    doctor.add_argument("--format", choices=("table", "json"), default="table")
    doctor.set_defaults(run=_doctor)

    check = commands.add_parser("check-config", help="check a configuration file")
    check.add_argument("file")
    check.set_defaults(run=_check_config)

    status.add_arguments(commands.add_parser("status", help="what a running agent sees"))
    demo.add_arguments(commands.add_parser("demo", help="a simulated node with pods, and the agent on it"))
    return parser


def _host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="the configuration (default: built-in)")
    parser.add_argument("--root", default="/", metavar="DIR", help="the host's root directory, or a recorded tree")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--pods", metavar="DIR", help="pods from a folder of YAML files")
    source.add_argument(
        "--kubeconfig", metavar="FILE", help="pods from this cluster (default: the one the agent runs in as a pod)"
    )
    parser.add_argument(
        "--node-name",
        metavar="NAME",
        default=node_name_default(),
        help="this node (default: $NODE_NAME, the host name)",
    )


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir", metavar="DIR", default="/run/plimsoll", help="below the root; holds the lock and the journal"
    )


def _run(options: argparse.Namespace) -> int:
    file = ConfigFile(options.config) if options.config else None
    config = file.config if file is not None else Config()
    configure(level=config.log.level, style=config.log.format)
    chosen = Options(
        root=options.root,
        config=options.config,
        pods=options.pods,
        kubeconfig=options.kubeconfig,
        node_name=options.node_name,
        listen=options.listen,
        state_dir=options.state_dir,
        duration=options.duration,
    )
    Agent(chosen, config, file).run()
    return EX_OK


def _metrics(options: argparse.Namespace) -> int:
    config = load_config(options.config) if options.config else Config()
    chosen = Options(root=options.root, pods=options.pods, kubeconfig=options.kubeconfig, node_name=options.node_name)
    sys.stdout.write(one_page(chosen, config).decode())
    return EX_OK


def _plan(options: argparse.Namespace) -> int:
    config = load_config(options.config) if options.config else Config()
    chosen = Options(
        root=options.root,
        pods=options.pods,
        kubeconfig=options.kubeconfig,
        node_name=options.node_name,
        state_dir=options.state_dir,
    )
    acting = plan(chosen, config)
    rows = [("enforce", each) for each in acting.results] + [("observe", each) for each in acting.observed]
    if options.format == "json":
        document = {
            "policies": [
                {"policy": each.policy, "mode": each.mode, "status": each.status, "detail": each.detail}
                for each in acting.reports
            ],
            "writes": [{"mode": mode, **_result(each)} for mode, each in rows],
        }
        print(json.dumps(document, indent=2))
        return EX_OK
    for report in acting.reports:
        print(f"{report.policy}: mode {report.mode}, {report.status}{' ' if report.detail else ''}{report.detail}")
    for mode, each in rows:
        write = each.write
        would = "stands already" if each.outcome is Outcome.UNCHANGED else f"{each.before} -> {write.value}"
        if each.outcome not in (Outcome.OK, Outcome.UNCHANGED):
            would += f" ({each.outcome})"
        print(f"{mode:7}  {write.target.path or 'the node'}  {write.knob}: {would}\n         {write.reason}")
    changes = sum(each.outcome is not Outcome.UNCHANGED for _, each in rows)
    print(f"{changes} of {len(rows)} knobs would change; nothing was written.")
    return EX_OK


def _result(each: Result) -> dict[str, object]:
    write = each.write
    return {
        "policy": write.policy,
        "target": write.target.path,
        "knob": write.knob,
        "value": write.value,
        "before": each.before,
        "outcome": each.outcome,
        "onExit": write.on_exit,
        "reason": write.reason,
    }


def _restore(options: argparse.Namespace) -> int:
    results, left = restore(options.root, options.state_dir, kept=options.all)
    for each in results:
        write = each.write
        print(f"{write.target.path or 'the node'}  {write.knob}: {each.before} -> {each.after}: {each.outcome}")
    done = sum(each.outcome is Outcome.OK for each in results)
    print(f"{done} knobs put back, {left} left.")
    return EX_OK if left == 0 else EX_FAILED


def _doctor(options: argparse.Namespace) -> int:
    found = capabilities(options.root)
    if options.format == "json":
        print(json.dumps([each._asdict() for each in found], indent=2))
        return EX_OK
    width = max(len(each.name) for each in found)
    for each in found:
        print(_line(each, width))
    return EX_OK


def _line(each: Capability, width: int) -> str:
    text = f"{each.name:<{width}}  {'yes' if each.available else 'no '}  {each.detail}"
    return text if each.available or not each.cure else f"{text}\n{'':<{width}}       cure: {each.cure}"


def _check_config(options: argparse.Namespace) -> int:
    load_config(options.file)
    print(f"{options.file}: good")
    return EX_OK


if __name__ == "__main__":
    sys.exit(main())
