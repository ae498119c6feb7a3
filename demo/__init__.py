"""A real Label Studio and the backend, started together: for a first look and for the tests."""
