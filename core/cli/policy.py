"""``policy`` and ``canary``: the policy as data, its promises, and the synthetic people who try them."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from sqlalchemy import text

from core import canary, db, privacy_actions, queries
from core.cli.base import now, out, worker
from core.errors import AdminError, BadInput
from core.models.proposals import PolicyProposal
from core.policy.evidence import State
from core.policy.judging import judge
from core.policy.promises import ledger_table

canary_app = typer.Typer(help="Synthetic people in every store, erased and looked for.", no_args_is_help=True)
policy_app = typer.Typer(help="The privacy policy as data.", no_args_is_help=True)
COLORS = {State.BROKEN: "bold red", State.AT_RISK: "yellow", State.NOT_PROVEN: "dim", State.HOLDS: "green"}


@policy_app.command("load")
def policy_load() -> None:
    """Publish version one of the policy unless it is there."""
    with worker() as session:
        out.print(f"Policy {privacy_actions.publish_first_version(session, now=now())} is in the database.")


@policy_app.command("ledger")
def policy_ledger() -> None:
    """Print the ledger of promises as the table of docs/privacy.md."""
    typer.echo(ledger_table(), nl=False)


@policy_app.command("check")
def policy_check(
    as_json: Annotated[bool, typer.Option("--json", help="Print every promise with its evidence as JSON.")] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the result in the history, as the worker does.")
    ] = False,
) -> None:
    """Run the check behind every promise now. Exit status 1 when one is broken. Writes nothing without --record."""
    db.prepare()
    with db.transaction("worker") as session:
        if record:
            privacy_actions.check_promises(session, now=now())
        else:
            session.execute(text("set transaction read only"))
        found = judge(session, now=now())
    if as_json:
        rows = [
            {"promise": each.promise.id, "clause": each.promise.clause, "text": each.promise.text, "state": str(each.state),
             "evidence": [place.stored() for place in each.evidence]}
            for each in found
        ]  # fmt: skip
        typer.echo(json.dumps({"at": now().isoformat(), "promises": rows}, indent=2, ensure_ascii=False))
    else:
        for each in found:
            out.print(f"[{COLORS[each.state]}]{each.state:<11}[/] {each.promise.id:<15} {escape(each.told.sentence)}")
    counts = Counter(each.state for each in found)
    if counts[State.BROKEN]:
        raise AdminError(f"{counts[State.BROKEN]} of {len(found)} promises are broken.")


@policy_app.command("propose")
def policy_propose(
    file: Annotated[Path, typer.Argument(help="A version of the policy as data, like data/policy/2026-04-20.yaml.")],
) -> None:
    """Propose a new version: prints what changes. Two people publish it on the page Policy versions."""
    db.prepare()
    if not file.is_file():
        raise BadInput(f"There is no file {file}.")
    try:
        content = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not text in UTF-8.") from error
    with worker() as session:
        made = privacy_actions.propose_policy(session, content=content, now=now())
        found = session.get_one(PolicyProposal, made.proposal_id)
        lines = [(each["significant"], each["words"]) for each in found.changes]
        told = (
            "significant: everybody is told before it holds"
            if found.significant
            else "not significant: nobody has to be told"
        )
    out.print(made.sentence)
    for significant, words in lines:
        out.print(f"{'! ' if significant else '  '}{words}", markup=False)
    out.print(f"It is {told}. Two people publish it on the page Policy versions.")


@canary_app.command("status")
def canary_status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Tell where each canary is, and what was seen of it. Exit status 1 when one that was erased is found."""
    db.prepare()
    with db.transaction("worker") as session:
        found = queries.canaries(session, at=now())
    if as_json:
        typer.echo(json.dumps([{**asdict(each), "verdict": each.verdict} for each in found], default=str, indent=2))
    else:
        for each in found:
            looked = f", looked for on {each.looked_at:%F}" if each.looked_at else ""
            out.print(f"{each.week:%G-W%V}  {each.stage:<9} {each.verdict}{looked}", markup=False)
        if not found:
            out.print("There is no canary yet: a worker plants one a week.")
    if left := sum(each.stage == "found" for each in found):
        raise AdminError(f"{left} of {len(found)} canaries were erased and are still found.")


@canary_app.command("plant")
def canary_plant() -> None:
    """Plant the canary of this week now, as a worker would; again: nothing happens."""
    with worker() as session:
        done = canary.plant(session, week=canary.monday(now()), now=now())
    out.print(f"Planted, in {done['records']} records." if done else "This week's canary is there already.")
