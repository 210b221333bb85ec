"""The REST API of the platform, `/v1`: answers questions about the plant and what it recorded.

`create_app` builds it on a database, `serve` runs it, `openapi_json` describes it. It computes nothing that the store
defines: a figure has one definition.
"""

from hefa_platform.api.app import create_app, openapi_json
from hefa_platform.api.guard import Limits
from hefa_platform.api.server import serve

__all__ = ["Limits", "create_app", "openapi_json", "serve"]
