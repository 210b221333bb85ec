"""`python -m hefa_apps` is `hefa-apps`."""

from hefa_apps.cli import main

main()
