"""The commands of `python -m model`. Each module has ``run(arguments)``."""
