"""Learning from the annotations of a project: the mask decoder learns, the image encoder stays."""
