"""The letters about age and consent: to a student about themselves, to a guardian about the student.

They belong to an account and are important, so they go to everybody, also to those who opted out or are restricted. No notice to
many can be made of them (core.privacy.mail_kinds): each follows from a consent record.
"""

from core.privacy.mail_kinds import Notice

COURT = "You can complain to a data protection authority, and you can go to court. Neither depends on the other."
_NAME = {"name": "the person's name"}
_BY = _NAME | {"until": "day by which we need an answer"}
_CHILD = _NAME | {"student": "the student's name"}
_WORDS = _CHILD | {"words": "your own words"}
_REASON = _WORDS | {"reason": "why it was refused, or who took it back"}

AGE_LETTERS: dict[str, Notice] = {
    "age question": Notice(
        "Are you 18 or over? Please tell us by {until}",
        "Dear {name},\n\nour policy says that a parent or guardian has to agree while you are below 18, and we do not know "
        "whether that is so. Please answer this mail with one of two things, by {until}:\n\n– “I am 18 or over.” We keep the "
        "yes, and no date.\n– Your date of birth, if you are below 18. We then write to a parent or guardian of yours.\n\nIf "
        "we do not hear from you by then, your account is restricted until you answer: nothing is lost, but you cannot go on.",
        _BY,
        "when students are asked whether they are 18",
    ),
    "age reminder": Notice(
        "Reminder: are you 18 or over?",
        "Dear {name},\n\nwe asked you whether you are 18 or over and have no answer yet. Please answer this mail with “I am "
        "18 or over”, or with your date of birth if you are not. An account that is restricted opens as soon as you answer.",
        _BY,
        "when they have not answered for a week",
    ),
    "consent request": Notice(
        "{student} learns with us: do you agree?",
        "Dear {name},\n\n{student} has an account on our learning platform and is below 18. We need the agreement of a "
        "parent or guardian, and were given your name. Until we have it, the account is restricted.\n\nIf you agree, answer "
        "this mail with a signed note or form, or tell us a number on which we can call you. If you do not agree, or are not "
        "the parent or guardian, please say so; then we erase your name and address.\n\n{words}\n\nYou can take your "
        "agreement back at any time. What we keep of you is your name, your address and what you decided, until {student} is "
        "18.",
        _WORDS,
        "when a guardian is asked to agree",
    ),
    "consent reminder": Notice(
        "Reminder: {student} waits for your agreement",
        "Dear {name},\n\nwe asked you whether you agree that {student} learns with us, and have no answer yet. Until then "
        "the account is restricted. Please answer this mail; a no is an answer, too.",
        _CHILD,
        "when a guardian has not answered for a week",
    ),
    "consent verified": Notice(
        "Your agreement for {student} is recorded",
        "Dear {name},\n\nthank you. Your agreement for {student} is recorded and checked; the account is open. Whatever you "
        "sent us as evidence is destroyed. You can take your agreement back at any time by answering this mail. It ends when "
        "{student} is 18.",
        _CHILD,
        "to the guardian, when consent is verified",
    ),
    "consent opened": Notice(
        "Your parent or guardian has agreed",
        "Dear {name},\n\na parent or guardian has agreed that you learn with us, and we have checked it. Your account is not "
        "restricted any more. You can tell us at any time that you do not want this.",
        _NAME,
        "to the student, when consent is verified",
    ),
    "consent refused": Notice(
        "We could not accept the agreement for {student}",
        "Dear {name},\n\nwe could not accept what we received as your agreement for {student}: {reason}. Whatever you sent "
        "us as evidence is destroyed. The account stays restricted until we have an agreement that we can check.\n\n{words}",
        _REASON,
        "to the guardian, when consent is not accepted",
    ),
    "consent withdrawn": Notice(
        "The agreement of a parent or guardian is withdrawn",
        "Dear {name},\n\nthe agreement that {student} learns with us was withdrawn ({reason}). The account is restricted "
        "from now on: what is there is kept, and not used. A new agreement opens it again.\n\n{words}",
        _REASON,
        "to student and guardian, when consent is withdrawn",
    ),
    "consent lapsed": Notice(
        "You are 18 now: please confirm it yourself",
        "Dear {name},\n\nuntil now a parent or guardian agreed for you. You are 18, so that has ended, and nobody decides "
        "for you any more. Please answer this mail with “I am 18 or over, and I go on”, by {until}. We then erase your date "
        "of birth and keep the yes; if you do not answer, it goes after that day, too. If you do not want to go on, tell us that, and we "
        "close your account.",
        _BY,
        "to the student, on the 18th birthday",
    ),
    "guardian released": Notice(
        "Your agreement for {student} has ended",
        "Dear {name},\n\n{student} is 18 now, so your agreement has ended, and we do not need you any more. Your name and "
        "address are erased as soon as this letter is out.",
        _CHILD,
        "to the guardian, on the 18th birthday",
    ),
    "guardian forgotten": Notice(
        "We erase what we hold about you",
        "Dear {name},\n\nas you asked, we erase your name and address as soon as this letter is out. An agreement that you had "
        "given for {student} ends with that; the account is restricted until another parent or guardian agrees.\n\n" + COURT,
        _CHILD,
        "to a guardian who asked for the erasure of their data",
    ),
    "below age": Notice(
        "Your account is closed: our learners are 16 or older",
        "Dear {name},\n\nwe have learned that the account of {student} belongs to somebody who is not old enough for it yet: "
        "our policy allows nobody below the minimum age. The account is closed, and everything is erased without a waiting "
        "period, but what the law makes us keep. If the date of birth is wrong, tell us at once.\n\nYou are welcome when you "
        "are old enough.\n\n"
        + COURT,
        _CHILD,
        "when somebody below the minimum age is found",
    ),
}  # fmt: skip
