"""A page and an HTTP API around models: `app` makes the ASGI application, which `verydeep.serve` runs."""

from verydeep.serving.application import app as app
from verydeep.serving.limits import Limits as Limits

__all__ = ["Limits", "app"]
