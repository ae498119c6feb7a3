"""HTTP requests that leave the backend: to checked addresses only, in bounded time and size."""
