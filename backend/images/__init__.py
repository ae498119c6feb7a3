"""From the URL in a task to the image that the annotator's browser shows."""
