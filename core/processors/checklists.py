"""What a person does at a processor that this dashboard cannot reach, line by line, until somebody connects it.

Every list ends by looking again: what was asked for is not what happened. A processor without a list of its own gets the
common one. The lines are part of the evidence that is given (core.privacy.manual_steps), so they name nobody.
"""

from core.models.labels import Processor

LOOK_AGAIN = "Search again, the same way: nothing is found."
ERASE: dict[str, tuple[str, ...]] = {
    Processor.MONGODB: (
        "Search every collection of the platform's database for the person's e-mail and platform id.",
        "Delete their documents; where the law keeps one (payments), empty the fields that name them.",
        LOOK_AGAIN,
    ),
    Processor.CLOUDINARY: (
        "Search the media library for the person's platform id: portrait, project files, certificates.",
        "Delete what is found, with its derived pictures and the copies in the delivery network.",
        LOOK_AGAIN,
        "Open an old address of one picture in a private window: it is gone.",
    ),
    Processor.VERCEL: (
        "Search stored form entries, files and data stores of the project for the person's e-mail and platform id.",
        "Delete what is found, also in previews of the site.",
        "Note until when request logs are kept there; they run out by themselves.",
        LOOK_AGAIN,
    ),
    Processor.SMTP: (
        "Delete the person's address from lists, contacts and message logs of the mail provider.",
        "Keep an opt-out or bounce entry only if the provider stores it as a hash.",
        LOOK_AGAIN,
    ),
    Processor.PAYMENTS: (
        "Find the person's customer record by e-mail.",
        "Delete stored cards and the customer record. Invoices stay as long as the law asks for.",
        "If the gateway does not delete by itself, ask its support in writing, and note the number of the ticket.",
        LOOK_AGAIN,
    ),
}
COMMON_ERASE = (
    "Search there for the person's e-mail, name and platform id.",
    "Delete what is found, or ask the processor in writing and note the number of the ticket.",
    LOOK_AGAIN,
)
EXPORT = (
    "Search there for the person's e-mail and platform id.",
    "Save what is found as a file, with nothing about other people in it.",
    "Hand the file over the way the answer goes out, then delete your copy.",
)
PASS_ON = (
    "Make the change there for this person, and for nobody else.",
    "Look at the person's entry again: the change is there.",
)


def checklist(processor: str, what: str) -> tuple[str, ...]:
    """Return the lines for one step; ``what`` is "erase", "export" or "pass on"."""
    if what == "export":
        return EXPORT
    return ERASE.get(processor, COMMON_ERASE) if what == "erase" else PASS_ON
