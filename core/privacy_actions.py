"""The front door for changes. No ``select`` here: each verb lives in ``core/privacy/`` and is told here.

Sessions   sign_in, redeem_ticket, live_session, refuse_session, confirm_identity, is_fresh, demand_fresh, sign_out
Staff      add_staff, disable_staff, enable_staff, change_role, assign, assignments, staff_list, staff_id
People     reveal_contacts, record_view, record_refusal, export_list
Audit      check_audit, sign_audit, export_audit, record_audit_export
Files      open_file, file_exists, drop_expired_files
Figures    take_group_figures
Policy     publish_first_version

Every verb is keyword-only, takes who acts (``by``) and when (``now``), and writes its audit line last, in the caller's
transaction. None of them commits. Dangerous ones are ``guarded``: closed while the audit does not verify.
"""

from core.privacy.audit import Action
from core.privacy.audit import check as check_audit
from core.privacy.audit import checkpoint as sign_audit
from core.privacy.audit_export import record_audit_export
from core.privacy.contacts import export_audit, export_list, record_refusal, record_view, reveal_contacts
from core.privacy.files import drop_expired_files, file_exists, open_file
from core.privacy.publication import publish_first_version
from core.privacy.sessions import (
    SignedIn,
    Staff,
    confirm_identity,
    demand_fresh,
    is_fresh,
    live_session,
    redeem_ticket,
    refuse_session,
    sign_in,
    sign_out,
)
from core.privacy.snapshots import take_group_figures
from core.privacy.staffing import (
    add_staff,
    assign,
    assignments,
    change_role,
    disable_staff,
    enable_staff,
    staff_id,
    staff_list,
)

__all__ = [
    "Action",
    "SignedIn",
    "Staff",
    "add_staff",
    "assign",
    "assignments",
    "change_role",
    "check_audit",
    "confirm_identity",
    "demand_fresh",
    "disable_staff",
    "drop_expired_files",
    "enable_staff",
    "export_audit",
    "export_list",
    "file_exists",
    "is_fresh",
    "live_session",
    "open_file",
    "publish_first_version",
    "record_audit_export",
    "record_refusal",
    "record_view",
    "redeem_ticket",
    "refuse_session",
    "reveal_contacts",
    "sign_audit",
    "sign_in",
    "sign_out",
    "staff_id",
    "staff_list",
    "take_group_figures",
]
