"""The pages for people: the ledger, the form that adds an entry, and a page about the stack."""

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from services.web import error_pages, sessions
from services.web.error_pages import Problem
from services.web.ledger_client import LedgerCallError
from services.web.lifecycle import current_worker

PAGE_SIZE = 20
FORM_KINDS = ("application/x-www-form-urlencoded", "multipart/form-data")
# The ledger's own limits, checked here too, so that a mistake is shown beside its field.
ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}")
ACCOUNT_RULE = "Use 1 to 64 letters, digits, dots, dashes or underscores, without spaces."
LARGEST_AMOUNT = 10**12
LONGEST_MEMO = 500
KEY = re.compile(r"(?!proxy:)[A-Za-z0-9._:~+/=@-]{1,255}")
INTEGER = re.compile(r"[+-]?[0-9]{1,15}")

blueprint = Blueprint("pages", __name__)


def new_key() -> str:
    """A key for one form: however often that form is sent, one entry is added."""
    return f"form-{secrets.token_urlsafe(18)}"


@dataclass
class EntryForm:
    """The form as the visitor filled it in; `errors` has the mistake of each wrong field."""

    key: str = field(default_factory=new_key)
    account: str = ""
    amount: str = ""
    memo: str = ""
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def sent(cls, fields: Mapping[str, str], key: str) -> "EntryForm":
        """The form that was sent, checked."""
        account, amount = fields.get("account", "").strip(), fields.get("amount", "").strip()
        # A browser sends line ends as CRLF and counts them as one character.
        memo = fields.get("memo", "").strip().replace("\r\n", "\n")
        errors = {}
        if not ACCOUNT.fullmatch(account):
            errors["account"] = ACCOUNT_RULE
        if not INTEGER.fullmatch(amount) or abs(int(amount)) > LARGEST_AMOUNT:
            limits = f"from -{LARGEST_AMOUNT:,} to {LARGEST_AMOUNT:,}"
            errors["amount"] = f"Use a whole number {limits}, without spaces or separators."
        if len(memo) > LONGEST_MEMO:
            errors["memo"] = f"Use at most {LONGEST_MEMO} characters; these are {len(memo)}."
        return cls(key, account, amount, memo, errors)


@blueprint.get("/")
def ledger() -> str:
    """One page of the ledger, of one account if asked for, and the form to add an entry."""
    account = request.args.get("account", "").strip()
    if account and not ACCOUNT.fullmatch(account):
        message = f"{account!r} cannot be an account."
        raise Problem(422, "invalid_account", message, ACCOUNT_RULE)
    cursor = request.args.get("cursor", "")
    page = current_worker().ledger.entries(account=account, cursor=cursor, limit=PAGE_SIZE)
    return render_template(
        "ledger.html",
        page=page,
        account=account,
        first=not cursor,
        form=EntryForm(account=account),
        visits=sessions.visit(),
    )


@blueprint.post("/entries")
def add_entry() -> AnyResponse:
    """Add the entry of the form that was sent and lead back to the ledger.

    The key was made when the form was shown, so a form that is sent again adds nothing. With the
    header Idempotency-Key instead of it the proxy may send the request to another instance.
    """
    form = received_form()
    if form.errors:
        mistakes = " ".join(f"{name}: {mistake}" for name, mistake in form.errors.items())
        advice = "Correct the fields and send the form again."
        invalid = Problem(422, "invalid_entry", mistakes, advice)
        return error_pages.answer(invalid, "entry.html", form=form)
    try:
        amount = int(form.amount)
        entry, replayed = current_worker().ledger.add(form.key, form.account, amount, form.memo)
    except LedgerCallError as error:
        return failed(form, error)
    if replayed:
        flash("This entry was already in the ledger; sending it again added nothing.", "info")
    else:
        flash(f"Added {entry.amount:,} to {entry.account}.", "success")
    return redirect(url_for("pages.ledger"), 303)


@blueprint.get("/about")
def about() -> str:
    """A page about the stack and the processes that made it."""
    ledger_by = None
    with suppress(LedgerCallError):
        ledger_by = current_worker().ledger.whoami()
    return render_template("about.html", ledger_by=ledger_by)


@blueprint.get("/favicon.ico", defaults={"name": "favicon.svg"})
@blueprint.get("/robots.txt", defaults={"name": "robots.txt"})
def file_at_the_root(name: str) -> Response:
    """A file that clients expect at the root; nginx, where there is one, serves it by itself."""
    return current_app.send_static_file(name)


@blueprint.app_context_processor
def page_footer() -> dict[str, object]:
    """The values that every page shows at its foot, and the token of its form."""
    identity = current_worker().identity
    return {"identity": identity, "request_id": g.request_id, "token": sessions.form_token}


@blueprint.app_template_filter()
def moment(value: str) -> str:
    """A time of the API for people, to the second; other text is shown as it is."""
    try:
        return datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return value


def received_form() -> EntryForm:
    """The form that was sent, once it is certain that this session's own page sent it.

    Problem if it comes from elsewhere (403) or has no usable key (400). UnsupportedMediaType if it
    is no form.
    """
    if request.mimetype not in FORM_KINDS:
        kind = request.mimetype or "an unnamed type"
        abort(415, f"POST {request.path} takes a form, not {kind}.")
    if not sessions.is_form_token(request.form.get("token", "")):
        message = "The form does not belong to your session, so nothing was added."
        advice = "Allow cookies for this site, open the ledger page and fill in the form there."
        raise Problem(403, "form_not_from_here", message, advice)
    key = request.headers.get("Idempotency-Key") or request.form.get("key", "")
    if not KEY.fullmatch(key):
        message = "The form carries no usable key, so nothing was added."
        advice = "Open the ledger page and fill in the form there."
        raise Problem(400, "form_key_missing", message, advice)
    return EntryForm.sent(request.form, key)


def failed(form: EntryForm, error: LedgerCallError) -> AnyResponse:
    """Show the form again after the ledger did not add it.

    After a refusal nothing was added and the corrected form is a new one. After any other error the
    entry may have been added: the form keeps its key, so that sending it again is safe.
    """
    problem: Problem = error
    if error.status < 500:
        form.key = new_key()
        if error.code == "idempotency_key_reused":
            # The API speaks of keys and bytes; this is what it means to the person at the form.
            message = (
                "This form had already added an entry, and was then sent again with other values."
            )
            advice = "To add an entry with these values too, send the form once more."
            problem = Problem(422, error.code, message, advice)
    return error_pages.answer(problem, "entry.html", form=form)
