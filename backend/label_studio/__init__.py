"""The client of Label Studio: its address, its tokens, its files, projects and tasks."""
