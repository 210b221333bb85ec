"""The page at /docs: swagger-ui from our own files, so that it works without the internet."""

from fastapi import FastAPI
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hefa platform API</title>
<link rel="stylesheet" href="/docs/static/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/static/swagger-ui-bundle.js"></script>
<script src="/docs/static/docs.js"></script>
</body>
</html>
"""


def install(app: FastAPI) -> None:
    """Add the page and its files."""

    def docs() -> HTMLResponse:
        return HTMLResponse(_PAGE)

    app.mount("/docs/static", StaticFiles(packages=[(__package__ or "", "static")]), name="static")
    app.add_api_route("/docs", docs, include_in_schema=False)
