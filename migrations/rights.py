"""What every migration with a new table repeats: forced row-level security, and who may touch what.

Deny by default: :func:`close` first, then open exactly what a role needs. Never change what a function here does: old
migrations would do something else on a new database. Add another function instead.
"""

from alembic import op


def close(table: str) -> None:
    """Force row-level security on a table, and open it to the worker (all rows) and to definer functions (reading)."""
    op.execute(f"alter table {table} enable row level security, force row level security")
    op.execute(f"grant select, insert, update, delete on {table} to resocode_worker")
    op.execute(f"create policy worker on {table} to resocode_worker using (true) with check (true)")
    op.execute(f"grant select on {table} to resocode_definer")
    op.execute(f"create policy definer on {table} to resocode_definer using (true) with check (true)")


def let_definer(table: str, *verbs: str) -> None:
    """Let definer functions "insert", "update" or "delete" rows of a table."""
    op.execute(f"grant {', '.join(verbs)} on {table} to resocode_definer")


def app_reads(table: str, rule: str, columns: str = "") -> None:
    """Let the dashboard read the rows for which ``rule`` holds; ``columns`` like ``"(id, name)"`` narrows it further."""
    op.execute(f"grant select {columns} on {table} to resocode_app")
    op.execute(f"create policy app_reads on {table} for select to resocode_app using ({rule})")


def app_adds(table: str, rule: str, columns: str = "") -> None:
    """Let the dashboard insert rows for which ``rule`` holds."""
    op.execute(f"grant insert {columns} on {table} to resocode_app")
    op.execute(f"create policy app_adds on {table} for insert to resocode_app with check ({rule})")


def app_changes(table: str, rule: str, columns: str) -> None:
    """Let the dashboard update ``columns`` of rows for which ``rule`` holds before and after."""
    op.execute(f"grant update {columns} on {table} to resocode_app")
    op.execute(f"create policy app_changes on {table} for update to resocode_app using ({rule}) with check ({rule})")


def replace_app_reads(table: str, rule: str) -> None:
    """Give the dashboard another rule for the rows it reads."""
    op.execute(f"alter policy app_reads on {table} using ({rule})")


def functions(script: str, callers: dict[str, str], *, owner: str = "resocode_definer") -> None:
    """Make functions as ``owner``, closed to public; ``callers`` maps each signature to the roles that may call it."""
    op.execute(f"set local role {owner}")
    op.execute(script)
    for signature, roles in callers.items():
        op.execute(f"revoke all on function {signature} from public")
        op.execute(f"grant execute on function {signature} to {roles}")
    op.execute("reset role")
