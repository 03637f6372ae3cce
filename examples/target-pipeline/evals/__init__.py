"""Golden rows of the pipeline, one folder a step."""
