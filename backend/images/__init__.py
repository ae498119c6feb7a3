"""From the URL in a task to the pixels that the annotator's browser shows."""
