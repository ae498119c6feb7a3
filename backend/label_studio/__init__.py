"""Label Studio as seen from the backend: where it is, its token, its files, projects and tasks."""
