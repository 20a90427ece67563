"""A page to watch: what is on a deployment, in a browser, live and read-only. docs/page.md shows it."""
