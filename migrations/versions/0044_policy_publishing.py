"""Who may publish a version of the policy: two people, through one function; no role can go around it.

Danger: whoever holds the worker's password writes himself a policy, or the approval of one. Principle: a version exists because
it was the first, or because one person put it up and another one approved exactly it. Mechanism: no role that signs in may insert;
a trigger at the end of the transaction looks for the approved proposal, whoever inserted; the worker files proposals and their
simulation and nothing else of them; the table belongs to the role that nobody signs in as, so that its triggers stay on.
"""

from alembic import op

from migrations import rights

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

FUNCTIONS = """
-- The first version, from the file that comes with the product; false: there is one.
create function privacy.publish_first_policy(p_version text, p_effective_at timestamptz, p_document jsonb, p_now timestamptz)
returns boolean language plpgsql security definer set search_path = '' as $$
begin
    insert into privacy.policy_version (version, effective_at, published_at, document)
    select p_version, p_effective_at, p_now, p_document where not exists (select from privacy.policy_version)
    on conflict do nothing;
    return found;
end $$;

-- At the end of the transaction: a version is the first one, or exactly what two people said yes to.
create function privacy.demand_approval() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    if exists (select from privacy.policy_version v where v.version <> new.version) and not exists (
        select from privacy.policy_proposal p
        where p.version = new.version and p.effective_at = new.effective_at and p.document = new.document
          and p.decision = 'approved' and p.decided_at = new.published_at and p.put_up_by <> p.decided_by)
    then
        raise exception 'a version of the policy is published by two people, and as it was proposed';
    end if;
    return null;
end $$;
"""
CALLERS = {
    "privacy.publish_first_policy(text, timestamptz, jsonb, timestamptz)": "resocode_worker",
    "privacy.demand_approval()": "resocode_owner, resocode_ledger",
}
FILED = "id, version, follows, effective_at, document, sha256, changes, significant, filed_at"


def upgrade() -> None:
    """Apply."""
    rights.functions(FUNCTIONS, CALLERS)
    op.execute("revoke insert, update, delete on privacy.policy_version from resocode_worker")
    op.execute("revoke insert, update, delete on privacy.policy_proposal from resocode_worker")
    op.execute(
        f"grant insert ({FILED}), update (simulation, simulated_at) on privacy.policy_proposal to resocode_worker"
    )
    op.execute(
        "create trigger never_truncated before truncate on privacy.policy_version"
        " for each statement execute function privacy.guard_policy_version()"
    )
    op.execute(
        "create constraint trigger approved after insert on privacy.policy_version deferrable initially deferred"
        " for each row execute function privacy.demand_approval()"
    )
    op.execute("alter table privacy.policy_version owner to resocode_ledger")


def downgrade() -> None:
    """There is no way back but a backup."""
    raise NotImplementedError("Restore a backup instead.")
