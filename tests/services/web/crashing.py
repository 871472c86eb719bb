"""The web service with views that fail in ways nobody foresaw."""

from flask import Response, request

from services.web.wsgi import app


@app.get("/crash")
def crash() -> str:
    raise ZeroDivisionError("on purpose")


@app.get("/crash-handled-badly")
def crash_handled_badly() -> str:
    raise BrokenPipeError


@app.errorhandler(BrokenPipeError)
def fail_again(_error: BrokenPipeError) -> str:
    raise ZeroDivisionError("on purpose, in an error handler")


@app.get("/crash-late")
def crash_late() -> str:
    return "never seen"


@app.after_request
def fail_late(response: Response) -> Response:
    if request.path == "/crash-late":
        raise ZeroDivisionError("on purpose, after the view")
    return response
