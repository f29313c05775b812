"""The words of the made-up support desk: what its customers write about, and how. Data only, all invented.

An issue is `(wordings, severity, about)`: two ways to say it with `{p}` for the product, how bad it is (0 to 2), and the noun
a human agent would use for it.
"""

from __future__ import annotations

CATEGORIES = ("billing", "account", "shipping", "bug", "refund", "feature")
PRIORITIES = ("low", "normal", "high", "urgent")
PRODUCTS = ("Harbor Sync", "Nimbus Mail", "Orbit CRM", "Pixel Pad", "Quartz Cam", "River Router", "Solo Watch", "Tandem Desk")
RENAMED = ("Nimbus Mail", "Lumen Post")
"""The product that gets a new name when the world changes: (old, new)."""
OTHER_PRODUCTS = ("Lumen Post", "Cedar Note", "Delta Lamp", "Ember Drive", "Falcon Print", "Garnet Lock")
"""Names that the base has read about although the desk does not sell them, at first."""
NAMES = (
    *("Ana", "Bo", "Carl", "Dana", "Eve", "Finn", "Gita", "Hugo", "Iris", "Jan", "Kim", "Leo", "Mara", "Nils", "Olga", "Paul"),
    *("Rosa", "Sam", "Tove", "Uma"),
)

Issue = tuple[tuple[str, str], int, str]
ISSUES: dict[str, tuple[Issue, ...]] = {
    "billing": (
        (("I was charged twice for {p} this month", "you charged me twice for {p}"), 1, "the double charge"),
        (("the invoice for {p} shows the wrong amount", "the amount on our {p} invoice is wrong"), 1, "the wrong invoice"),
        (("my card was declined when renewing {p}", "renewing {p} fails because my card is declined"), 1, "the declined card"),
        (("please send me a copy of the {p} invoice", "I lost the {p} invoice and need a copy"), 0, "the invoice copy"),
        (("I need our VAT number on the {p} bill", "the {p} bill lacks our VAT number"), 0, "the VAT number"),
        (("the price of {p} went up without notice", "we pay more for {p} and nobody told us"), 1, "the price change"),
    ),
    "account": (
        (("I cannot log in to {p}", "I can no longer log in to {p}"), 2, "the login problem"),
        (("the password reset mail for {p} never arrives", "no password reset mail for {p} reaches me"), 1, "the password reset"),
        (("someone else is using my {p} account", "a stranger is using my {p} account"), 2, "the stolen account"),
        (("I want to change the email address on my {p} profile", "how do I change my email in {p}"), 0, "the email change"),
        (("two factor codes for {p} are rejected", "{p} does not accept my two factor code"), 1, "the two factor codes"),
        (("please add a colleague to our {p} workspace", "a new colleague needs access to {p}"), 0, "the new colleague"),
    ),
    "shipping": (
        (("my {p} parcel has not arrived", "I still wait for the {p} parcel"), 1, "the late parcel"),
        (("the tracking page for my {p} order is stuck", "tracking of the {p} order has not moved"), 1, "the tracking page"),
        (("the courier delivered the {p} to the wrong house", "our {p} went to the wrong address"), 1, "the wrong delivery"),
        (("can you ship the {p} to Norway", "do you deliver {p} to Norway"), 0, "delivery to Norway"),
        (("the {p} box was crushed on arrival", "the {p} arrived in a crushed box"), 1, "the crushed box"),
        (("the {p} parcel was empty", "the {p} box was empty"), 2, "the empty parcel"),
    ),
    "bug": (
        (("{p} crashes when I open a file", "opening a file makes {p} crash"), 1, "the crash"),
        (("{p} deleted all of our data", "our data in {p} is deleted"), 2, "the data loss"),
        (("the {p} screen stays blank", "I see a blank screen in {p}"), 1, "the blank screen"),
        (("{p} is down for the whole team", "{p} is down for everyone here"), 2, "the outage"),
        (("a label in {p} is misspelled", "there is a spelling mistake in {p}"), 0, "the typo"),
        (("{p} is slow since the update", "the update made {p} slow"), 1, "the slow update"),
    ),
    "refund": (
        (("I want my money back for {p}", "please pay me back for {p}"), 1, "the refund"),
        (("I returned the {p} and wait for the refund", "no refund yet for the {p} I sent back"), 1, "the pending refund"),
        (("please cancel {p} and refund the rest", "end my {p} plan and refund what is left"), 1, "the cancellation"),
        (("how long does a refund for {p} take", "when will the {p} refund be paid"), 0, "the refund time"),
        (("the refund for {p} is too small", "my {p} refund is less than I paid"), 1, "the small refund"),
        (("can I get a refund for an unused {p} licence", "is an unused {p} licence refunded"), 0, "the unused licence"),
    ),
    "feature": (
        (("it would be great if {p} had a dark mode", "a dark mode for {p} would be nice"), 0, "dark mode"),
        (("please add an export button to {p}", "I miss an export button in {p}"), 0, "the export button"),
        (("can {p} support more languages", "we would like {p} in more languages"), 0, "more languages"),
        (("I wish {p} worked offline", "{p} should work offline"), 0, "offline work"),
        (("could {p} get a calendar view", "a calendar view in {p} would help"), 0, "the calendar view"),
        (("please let {p} talk to our chat tool", "we want {p} connected to our chat tool"), 0, "the chat link"),
    ),
}

CUES: tuple[tuple[str, int], ...] = (
    ("", 0),
    ("Thanks in advance.", 0),
    ("I have asked before.", 0),
    ("This is blocking our work.", 1),
    ("We need a fix today.", 1),
    ("Customers are waiting.", 1),
    ("No rush at all.", -1),
    ("Whenever you have time.", -1),
    ("Just curious.", -1),
)
"""What a customer adds, and by how many steps it moves the priority."""
OPENINGS = ("Hi,", "Hello team,", "Good morning,", "Dear support,", "Hey,", "Good evening,", "")
CLOSINGS = ("", "Regards, {n}", "Best, {n}", "{n}", "Cheers, {n}", "Thank you, {n}")
ASIDES = ("Order {k}.", "Ticket {k}.", "My customer number is {k}.")
