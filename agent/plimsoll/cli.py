"""
The command line: a contract scripts rely on.

Exit codes: 0 done; 1 failed at run time; 2 wrong usage; 69 what was asked does not answer; 75 another agent holds this
node; 78 the configuration is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence

from plimsoll import __version__, retire, status
from plimsoll.config.loader import ConfigFile, load_config
from plimsoll.config.problem import ConfigError
from plimsoll.config.quantity import whole
from plimsoll.config.schema import Config
from plimsoll.daemon import Agent, AlreadyRunning
from plimsoll.isst_view import isst_facts, isst_lines
from plimsoll.log import configure
from plimsoll.model.outcome import Outcome
from plimsoll.model.publishing import RESOURCE
from plimsoll.model.snapshot import Capability
from plimsoll.once import capabilities, node_name_default, one_page, plan, replay, restore, speed_select, withdraw
from plimsoll.options import LOCK_WAIT, RECORD_BYTES, Options
from plimsoll.plan_view import plan_facts, plan_lines
from plimsoll.recording import Recording
from plimsoll.replay_view import Summary, tick_facts, tick_lines
from plimsoll.simulator import demo, simulate
from plimsoll.terminal import style_of

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
    _lock_wait(run, LOCK_WAIT)
    _record(run)
    run.add_argument(
        "--record-max", type=_size, default=RECORD_BYTES, metavar="SIZE", help="of the recording: 256Mi, 1Gi"
    )
    run.set_defaults(run=_run)

    metrics = commands.add_parser("metrics", help="observe once and print the metrics")
    _host(metrics)
    metrics.set_defaults(run=_metrics)

    planned = commands.add_parser("plan", help="what would be written, why, and what stands there; nothing is written")
    source = _host(planned)
    source.add_argument("--replay", metavar="FILE", help="a recording, decided on anew: what changed in each tick")
    _state(planned)
    _record(planned)
    planned.add_argument("--format", choices=("table", "json"), default="table")
    planned.set_defaults(run=_plan)

    restored = commands.add_parser("restore", help="put back what an agent that no longer runs has left")
    restored.add_argument("--root", default="/", metavar="DIR", help="the host's root directory")
    _state(restored)
    restored.add_argument(
        "--config", metavar="FILE", help="the agent's configuration, to follow its overcommit.onExit and publish"
    )
    restored.add_argument("--kubeconfig", metavar="FILE", help="the cluster in which memory was published")
    restored.add_argument(
        "--node-name",
        metavar="NAME",
        default=node_name_default(),
        help="this node (default: $NODE_NAME, the host name)",
    )
    restored.add_argument("--all", action="store_true", help="also what is meant to stay, as far as the kernel lets it")
    restored.add_argument(
        "--forget",
        action="store_true",
        help="no agent is to come any more: remove its files, too, if nothing is left that could be put back",
    )
    _lock_wait(restored, 0.0)
    restored.set_defaults(run=_restore)

    retire.add_arguments(
        commands.add_parser(
            "retire", help="after the last agent: wait for all nodes, take back what was told of them and pods"
        )
    )

    doctor = commands.add_parser("doctor", help="what this node can do and, where it cannot, why and the cure")
    doctor.add_argument("--root", default="/", metavar="DIR", help="the host's root directory")
    doctor.add_argument("--format", choices=("table", "json"), default="table")
    doctor.set_defaults(run=_doctor)

    check = commands.add_parser("check-config", help="check a configuration file")
    check.add_argument("file")
    check.set_defaults(run=_check_config)

    status.add_arguments(commands.add_parser("status", help="what a running agent sees"))
    demo.add_arguments(commands.add_parser("demo", help="a simulated node with pods, and the agent on it"))
    simulate.add_arguments(
        commands.add_parser(
            "simulate", help="frequency groups on any machine, or overcommit on a model: pictures and numbers"
        )
    )

    isst = commands.add_parser("isst", help="Intel Speed Select of this node")
    show = isst.add_subparsers(required=True, metavar="ACTION").add_parser("show", help="its state; nothing is written")
    show.add_argument("--root", default="/", metavar="DIR", help="the host's root directory")
    show.add_argument("--format", choices=("table", "json"), default="table")
    show.set_defaults(run=_isst_show)
    return parser


def _host(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
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
    return source


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir", metavar="DIR", default="/run/plimsoll", help="below the root; holds the lock and the journal"
    )


def _lock_wait(parser: argparse.ArgumentParser, default: float) -> None:
    parser.add_argument(
        "--lock-wait",
        type=_seconds,
        default=default,
        metavar="SECONDS",
        help="how long another agent on this node may go on; 0: not at all (default: %(default)g)",
    )


def _record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record", metavar="FILE", help="write what is observed to a new file, compressed if it ends in .gz"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise ValueError(text)
    return seconds


def _size(text: str) -> int:
    return whole(text)


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
        record=options.record,
        record_bytes=options.record_max,
        lock_wait=options.lock_wait,
    )
    Agent(chosen, config, file).run()
    return EX_OK


def _metrics(options: argparse.Namespace) -> int:
    config = load_config(options.config) if options.config else Config()
    chosen = Options(root=options.root, pods=options.pods, kubeconfig=options.kubeconfig, node_name=options.node_name)
    sys.stdout.write(one_page(chosen, config).decode())
    return EX_OK


def _plan(options: argparse.Namespace) -> int:
    if options.replay:
        return _replay(options)
    config = load_config(options.config) if options.config else Config()
    chosen = Options(
        root=options.root,
        pods=options.pods,
        kubeconfig=options.kubeconfig,
        node_name=options.node_name,
        state_dir=options.state_dir,
        record=options.record,
    )
    acting = plan(chosen, config)
    if options.format == "json":
        print(json.dumps(plan_facts(acting), indent=2))
        return EX_OK
    for line in plan_lines(acting):
        print(line)
    return EX_OK


def _replay(options: argparse.Namespace) -> int:
    if options.record or options.root != "/":
        print("plimsoll: --replay looks at a recording only: leave out --record and --root", file=sys.stderr)
        return EX_USAGE
    config = load_config(options.config) if options.config else None
    style, summary = style_of(sys.stdout, os.environ), Summary()
    try:
        with Recording(options.replay) as recording:
            for tick in replay(recording, config):
                summary.add(tick)
                lines = [json.dumps(tick_facts(tick))] if options.format == "json" else tick_lines(tick, style)
                for line in lines:
                    print(line)
        if options.format == "table":
            for line in summary.lines():
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads (`| head`) has seen enough; flushing at exit would complain of it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if recording.torn:
        print(f"plimsoll: {options.replay}: breaks off; the last line is not whole and was left out", file=sys.stderr)
    return EX_OK


def _restore(options: argparse.Namespace) -> int:
    config = None
    try:
        config = ConfigFile(options.config).config if options.config else None
    except ConfigError as error:
        if not options.forget:
            raise
        # No agent is to come that would read a better one, and what is in the journal needs none.
        print(*error.problems, "plimsoll: going on without a configuration", sep="\n", file=sys.stderr)
    found = restore(
        options.root,
        options.state_dir,
        kept=options.all,
        lock_wait=options.lock_wait,
        forget=options.forget,
        config=config,
    )
    if found.drained is not None:
        drained = found.drained
        stays = "unknown" if drained.left is None else f"{drained.left >> 20} MiB"
        print(f"Brought back from the swap device: {drained.outcome}; still there: {stays}. {drained.detail}".rstrip())
    for each in found.results:
        write = each.write
        print(f"{write.target.path or 'the node'}  {write.knob}: {each.before} -> {each.after}: {each.outcome}")
    withdrawn = True
    if config is not None and config.overcommit.publish:
        published = withdraw(options.node_name, options.kubeconfig)
        withdrawn = published.known
        said = "withdrawn" if withdrawn else f"not withdrawn: {(published.trouble or ('', 'no answer'))[1]}"
        print(f"{RESOURCE} of {options.node_name}: {said}.")
    done = sum(each.outcome is Outcome.OK for each in found.results)
    print(f"{done} knobs put back, {found.left} left.")
    for name in found.kept:
        print(f"{options.state_dir}/{name} stays: it is not the agent's, or was put aside for a person to look at.")
    # What no agent could put back is no reason to try again.
    restored = found.left == 0 or (options.forget and found.left == found.staying)
    return EX_OK if restored and withdrawn else EX_FAILED


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


def _isst_show(options: argparse.Namespace) -> int:
    found = speed_select(options.root)
    if options.format == "json":
        print(json.dumps(isst_facts(found), indent=2))
    else:
        print("\n".join(isst_lines(found, style_of(sys.stdout, os.environ))))
    return EX_OK


def _check_config(options: argparse.Namespace) -> int:
    load_config(options.file)
    print(f"{options.file}: good")
    return EX_OK


if __name__ == "__main__":
    sys.exit(main())
