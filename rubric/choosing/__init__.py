"""What a model may choose from, a file a step: recipes, places and values, all of things that the target has."""
