"""The visitor's session: all of it is in one signed cookie, so that any instance can go on with it.

Nothing of it is kept in a process. The death of the instance that issued a session loses nothing,
as long as all instances sign with the same key.
"""

import secrets
from hmac import compare_digest

from flask import Flask, request, session
from flask.sessions import SecureCookieSessionInterface

COOKIE = "bulkhead_session"


class SignedCookie(SecureCookieSessionInterface):
    """Flask's signed cookie, marked Secure exactly when the visitor came by https."""

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002 (the interface's signature)
        """Whether browsers may send the cookie over https only."""
        return request.is_secure


def install(app: Flask, key: bytes) -> None:
    """Keep the sessions of `app` in cookies signed with `key`."""
    app.secret_key = key
    app.session_interface = SignedCookie()
    app.config.update(
        SESSION_COOKIE_NAME=COOKIE,
        SESSION_COOKIE_HTTPONLY=True,
        # Strict would hide the session from a visitor who follows a link from another site.
        SESSION_COOKIE_SAMESITE="Lax",
    )


def visit() -> int:
    """Count one visit and return how many there have been, this one included."""
    session.setdefault("id", secrets.token_hex(8))
    visits = int(session.get("visits", 0)) + 1
    session["visits"] = visits
    return visits


def form_token() -> str:
    """The token that a form of this session must send back; no other site can read it."""
    if "form_token" not in session:
        session["form_token"] = secrets.token_urlsafe(24)
    return str(session["form_token"])


def is_form_token(sent: str) -> bool:
    """Whether `sent` is the token of this session."""
    expected = str(session.get("form_token", ""))
    return bool(expected) and compare_digest(sent.encode(), expected.encode())
