"""HTTP requests that leave the backend. Addresses are checked; time and size are limited."""
