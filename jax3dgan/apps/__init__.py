"""Programs that work from a finished (or still growing) run: pictures and videos."""
