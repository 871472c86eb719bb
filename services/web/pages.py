"""The pages for people: the ledger with its form, and what this stack is."""

from datetime import datetime

from flask import (
    Blueprint,
    Response,
    current_app,
    flash,
    g,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from services.web import errors, forms, sessions
from services.web.errors import Problem, RefusedError
from services.web.forms import EntryForm
from services.web.instance import this
from services.web.ledger_client import LedgerClient, LedgerError, LedgerRefusedError

PAGE_SIZE = 20
FORM_KINDS = ("application/x-www-form-urlencoded", "multipart/form-data")
# The API speaks of keys and bytes here; this is what it means to the person at the form.
CHANGED_AFTERWARDS = Problem(
    422,
    "idempotency_key_reused",
    "This form had already added an entry, and was then sent again with other values.",
    "To add an entry with these values too, send the form once more.",
)

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def ledger() -> str:
    """One page of the ledger, of one account if asked for, and the form to add an entry."""
    account = request.args.get("account", "").strip()
    if account and not forms.ACCOUNT.fullmatch(account):
        message = f"{account!r} cannot be an account."
        raise RefusedError(Problem(422, "invalid_account", message, forms.ACCOUNT_RULE))
    cursor = request.args.get("cursor", "")
    page = client().entries(
        next(g.sub_request_ids), account=account, cursor=cursor, limit=PAGE_SIZE
    )
    return render_template(
        "ledger.html",
        page=page,
        account=account,
        first=not cursor,
        form=EntryForm(account=account),
        ledger_by=page.by,
        visits=sessions.visit(),
    )


@blueprint.post("/entries")
def add_entry() -> AnyResponse:
    """Add the entry of the form that was sent and lead back to the ledger.

    The key was made when the form was shown. So a double click, a reload and a form that is sent
    again after an error add one entry in all. A client that can set headers may give the key as
    Idempotency-Key instead, which also allows the proxy to send the request to another instance.
    """
    form = received_form()
    if form.errors:
        return show_form(form, 422)
    try:
        added = client().add(
            next(g.sub_request_ids), form.key, form.account, int(form.amount), form.memo
        )
    except LedgerError as error:
        return failed(form, error)
    if added.replayed:
        flash("This entry was already in the ledger; sending it again added nothing.", "info")
    else:
        flash(f"Added {added.entry.amount:,} to {added.entry.account}.", "success")
    return redirect(url_for("pages.ledger"), 303)


@blueprint.get("/about")
def about() -> str:
    """What the stack is and which processes of it made this page."""
    try:
        ledger_by = client().whoami(next(g.sub_request_ids))
    except LedgerError:
        ledger_by = None
    return render_template("about.html", ledger_by=ledger_by)


@blueprint.get("/favicon.ico", defaults={"name": "favicon.svg"})
@blueprint.get("/robots.txt", defaults={"name": "robots.txt"})
def file_at_the_root(name: str) -> Response:
    """A file that clients expect at the root; nginx, where there is one, serves it by itself."""
    return current_app.send_static_file(name)


@blueprint.app_context_processor
def who_answers() -> dict[str, object]:
    """What every page shows at its foot."""
    return {"identity": this().identity, "request_id": g.request_id, "token": sessions.form_token}


@blueprint.app_template_filter()
def moment(value: str) -> str:
    """A time of the API for people, to the second; what is no ISO time is shown as it is."""
    try:
        return datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return value


def client() -> LedgerClient:
    """The ledger's client of this application."""
    ledger_client: LedgerClient = current_app.extensions["ledger"]
    return ledger_client


def received_form() -> EntryForm:
    """The form that was sent, once it is certain that this session's own page sent it.

    Raises:
        RefusedError: it is no form (415), comes from elsewhere (403) or has no usable key (400).
    """
    if request.mimetype not in FORM_KINDS:
        code, resolution = errors.KNOWN[415]
        message = f"POST {request.path} takes a form, not {request.mimetype or 'an unnamed type'}."
        raise RefusedError(Problem(415, code, message, resolution))
    if not sessions.is_form_token(request.form.get("token", "")):
        raise RefusedError(
            Problem(
                403,
                "form_not_from_here",
                "The form does not belong to your session, so nothing was added.",
                "Allow cookies for this site, open the ledger page and fill in the form there.",
            )
        )
    key = request.headers.get("Idempotency-Key") or request.form.get("key", "")
    if not forms.KEY.fullmatch(key):
        raise RefusedError(
            Problem(
                400,
                "form_key_missing",
                "The form carries no usable key, so nothing was added.",
                "Open the ledger page and fill in the form there.",
            )
        )
    return EntryForm.sent(request.form, key)


def failed(form: EntryForm, error: LedgerError) -> AnyResponse:
    """Show the form again after the ledger did not add it.

    After a refusal nothing was added and the corrected form is a new one. After anything else
    nobody knows whether it was added: the form keeps its key, so that sending it again is safe.
    """
    problem = errors.of_ledger(error)
    if isinstance(error, LedgerRefusedError):
        form.key = forms.new_key()
        if error.code == "idempotency_key_reused":
            problem = CHANGED_AFTERWARDS
    return show_form(form, problem.status, problem)


def show_form(form: EntryForm, status: int, problem: Problem | None = None) -> AnyResponse:
    """The form on a page of its own with what is wrong, or the same as JSON."""
    if not errors.wants_page():
        return errors.answer(problem or invalid(form))
    response = make_response(render_template("entry.html", form=form, problem=problem), status)
    if problem:
        response.headers.update(problem.headers)
    response.vary.add("Accept")
    return response


def invalid(form: EntryForm) -> Problem:
    """The mistakes in a form as one Problem."""
    mistakes = " ".join(f"{name}: {mistake}" for name, mistake in form.errors.items())
    return Problem(422, "invalid_entry", mistakes, "Correct the fields and send the form again.")
