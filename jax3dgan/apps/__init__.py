"""Programs that work from a run's workdir alone, or from a model that comes with the package."""
