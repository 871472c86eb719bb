"""The WSGI application that gunicorn serves: `services.web.wsgi:app`."""

from services.web.app import create_app
from services.web.settings import Settings

app = create_app(Settings.from_environment())
