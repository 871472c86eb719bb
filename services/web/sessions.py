"""The visitor's session, all in one signed cookie: no process keeps any of it.

So the death of an instance loses nothing, as long as all instances sign with the same key.
"""

import secrets
from contextlib import suppress
from hmac import compare_digest

from flask import Flask, Response, current_app, g, request, session
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature, URLSafeTimedSerializer

from services.common.settings import session_key

COOKIE = "bulkhead_session"
FIRST = "bulkhead_form_"  # and the beginning of the token
FIRST_S = 3600  # for so long the form of a first page may lie open


class SignedCookie(SecureCookieSessionInterface):
    """Flask's signed cookie, marked Secure exactly when the visitor came by https."""

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002 (the interface's signature)
        """Whether browsers may send the cookie over https only."""
        return request.is_secure


def install(app: Flask, key_file: str) -> None:
    """Keep the sessions of `app` in cookies signed with the key in this file.

    Without a file the key is a random one that dies with this process.
    SettingsError if the file cannot be read or holds too short a key.
    """
    if key_file:
        app.secret_key = session_key(key_file)
    else:
        app.secret_key = secrets.token_bytes(32)
        app.logger.warning(
            "BULKHEAD_SECRET_FILE is not set: sessions end with this process and no other accepts"
            " them"
        )
    app.session_interface = SignedCookie()
    app.config.update(
        SESSION_COOKIE_NAME=COOKIE,
        SESSION_COOKIE_HTTPONLY=True,
        # Strict would hide the session from a visitor who follows a link from another site.
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.after_request(keep_first_token)


def visit() -> int:
    """Count one visit; the number of visits with this one."""
    session.setdefault("id", secrets.token_hex(8))
    visits = int(session.get("visits", 0)) + 1
    session["visits"] = visits
    return visits


def form_token() -> str:
    """The token that a form of this session must send back; no other site can read it."""
    if "form_token" not in session:
        session["form_token"] = g.first_form_token = secrets.token_urlsafe(24)
    return str(session["form_token"])


def keep_first_token(response: Response) -> Response:
    """Keep the token of a first page in a cookie of its own, too.

    Of two first pages that are loaded at once each begins a session, and the browser keeps one of
    them. The form of the other page would be refused.
    """
    if token := g.pop("first_form_token", ""):
        response.set_cookie(
            FIRST + token[:8],
            first_tokens().dumps(token),
            max_age=FIRST_S,
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )
    return response


def is_form_token(sent: str) -> bool:
    """Whether `sent` is the token of this session, or of a first page that this browser loaded."""
    expected = [str(session.get("form_token", ""))]
    if kept := request.cookies.get(FIRST + sent[:8]):
        with suppress(BadSignature):
            expected.append(str(first_tokens().loads(kept, max_age=FIRST_S)))
    return any(token and compare_digest(sent.encode(), token.encode()) for token in expected)


def first_tokens() -> URLSafeTimedSerializer:
    """The signer of the tokens of first pages, with the key of the sessions."""
    return URLSafeTimedSerializer(current_app.secret_key or "", salt=FIRST)
