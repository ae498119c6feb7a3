"""The trusted certificate authorities: the public ones, the system's and the operator's own."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import httpx

_SUFFIXES = (".pem", ".crt", ".cer")
_HOSTNAME_MISMATCH = (62, 64)  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_...
_NOT_IN_TIME = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def trust(authorities: Iterable[Path] = ()) -> ssl.SSLContext:
    """A TLS context that trusts authorities beside the public ones and those of the system.

    OpenSSL's own reading of SSL_CERT_FILE replaces the system's authorities. Here they add up.

    Args:
        authorities: PEM files of certificates, and folders of such files.

    Raises:
        ValueError: a file has no certificate. The message names the file.
    """
    context = httpx.create_ssl_context(trust_env=False)
    # From 3.13, Python refuses authorities without the extension for key usage. Many private ones
    # have none, and browsers take them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_default_certs()
    system = ssl.get_default_verify_paths()
    for path in map(Path, (system.openssl_cafile, system.openssl_capath)):
        if path.is_file():
            context.load_verify_locations(cafile=path)
        elif path.is_dir():
            context.load_verify_locations(capath=path)
    for path in authorities:
        if path.is_dir():
            context.load_verify_locations(capath=path)  # by the names that OpenSSL's rehash gives
        for file in _files(path):
            try:
                context.load_verify_locations(cafile=file)
            except (ssl.SSLError, OSError) as error:
                raise ValueError(f"{file} holds no certificates in PEM format: {error}") from error
    return context


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    return [path]


def refusal(error: BaseException | None) -> str | None:
    """Why a certificate was refused, and the remedy; None for any other error.

    Args:
        error: of a connection. The errors that caused the error are looked at too.
    """
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    reason = f"its certificate is refused ({error.verify_message})"
    if error.verify_code in _HOSTNAME_MISMATCH:
        return f"{reason}: use a host name that the certificate contains"
    if error.verify_code in _NOT_IN_TIME:
        return f"{reason}: renew the certificate, or correct this machine's clock"
    return (
        f"{reason}: if its certificate authority is a private one, set REQUESTS_CA_BUNDLE or"
        " SSL_CERT_FILE to a file with the certificate of the authority (PEM)"
    )
