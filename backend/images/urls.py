"""The URL in a task, read as a browser reads it, and its one normal form.

The same image has many spellings: ``my photo.jpg`` and ``my%20photo.jpg``, ``%c3%a4`` and ``ä``. A
storage service signs its URLs anew at every visit. The normal form is the same for all spellings.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from backend.http.client import parse_url

STORAGES = ("s3", "gs", "azure-blob")

_C0_AND_SPACE = "".join(map(chr, range(0x21)))
_LOCAL_FILES = re.compile(r"/data/local-files/?$")

# The query parameters with which storage services sign URLs, lower case: the parameters that must
# all be there, and those that may be there too. A single parameter such as ``sig`` proves nothing:
# any host may use the name for something else.
_SIGNATURES = tuple(
    (frozenset(needed.split()), frozenset(f"{needed} {optional}".split()))
    for needed, optional in (
        (  # Amazon S3 and compatible services, version 4
            "x-amz-algorithm x-amz-credential x-amz-signature",
            "x-amz-date x-amz-expires x-amz-signedheaders x-amz-security-token"
            " x-amz-content-sha256",
        ),
        ("awsaccesskeyid signature expires", "x-amz-security-token"),  # Amazon S3, version 2
        (  # Google Cloud Storage, version 4
            "x-goog-algorithm x-goog-credential x-goog-signature",
            "x-goog-date x-goog-expires x-goog-signedheaders",
        ),
        ("googleaccessid signature expires", ""),  # Google Cloud Storage, version 2
        (  # Azure Blob Storage, shared access signature
            "sig se sv sp",
            "st sr ss srt sip spr skoid sktid skt ske sks skv saoid suoid scid sdd ses",
        ),
        ("sig sv si", "sr st se sp sip spr"),  # Azure, with a stored access policy
        ("signature key-pair-id expires", ""),  # Amazon CloudFront
        ("signature key-pair-id policy", ""),
        ("ossaccesskeyid signature expires", "security-token"),  # Alibaba OSS
    )
)


def trimmed(url: str) -> str:
    """A URL without the characters that browsers remove (WHATWG URL, basic parser, steps 1 to 3).

    These are control characters and spaces at both ends, and tabs and line breaks anywhere.
    """
    url = url.strip(_C0_AND_SPACE)
    for character in "\t\n\r":  # a data: URI has megabytes: three times replace() is fast
        url = url.replace(character, "")
    return url


def is_data_uri(url: str) -> bool:
    """Whether the URL is the content itself."""
    return trimmed(url[:100])[:5].lower() == "data:"


def normal_form(url: str) -> tuple[str, bool]:
    """The normal form of a URL without its signature.

    Returns:
        The normal form, and whether a signature was removed.

    Raises:
        HttpClientError: the URL is not valid.
    """
    url = trimmed(url)
    scheme, colon, _ = url[:20].partition(":")
    if colon and scheme.lower() in ("data", *STORAGES):
        return scheme.lower() + url[len(scheme) :], False
    if url[:2].replace("\\", "/") == "//":
        form, is_signed = normal_form(f"http:{url}")
        return form.removeprefix("http:"), is_signed
    url = url.partition("#")[0]
    before, mark, query = url.partition("?")
    before = before.replace("\\", "/")
    host, path = "", before
    if not before.startswith("/"):
        parsed = parse_url(before + mark + query)
        userinfo = f"{parsed.userinfo.decode()}@" if parsed.userinfo else ""
        port = "" if parsed.port is None else f":{parsed.port}"
        host = f"{parsed.scheme}://{userinfo}{parsed.raw_host.decode()}{port}"
        path = "/" + before.split("://", 1)[-1].partition("/")[2]
    path = _normal_path(path)
    parameters = [piece for piece in query.split("&") if piece] if mark else []
    unsigned = _without_signature(parameters)
    if _LOCAL_FILES.search(path):
        path = path.rstrip("/")
        pieces = [_normal_local_file(piece) for piece in unsigned]
    else:
        pieces = ["+".join(map(_normal, piece.split("+"))) for piece in unsigned]
    return host + path + ("?" + "&".join(pieces) if pieces else ""), unsigned != parameters


def _normal(text: str) -> str:
    """Percent-encoded text with one encoding for each character; ``=`` stays."""
    return quote(unquote_to_bytes(text.encode(errors="surrogatepass")), safe="=")


def _normal_path(path: str) -> str:
    segments: list[str] = []
    parts = [_normal(part) for part in path.split("/")]
    for part in parts[1:]:
        if part == "..":
            segments = segments[:-1]
        elif part != ".":
            segments.append(part)
    if parts[-1] in (".", ".."):
        segments.append("")
    return "/" + "/".join(segments)


def _normal_local_file(piece: str) -> str:
    """A query parameter of a local file. Label Studio reads ``+`` as a space."""
    name, _, value = piece.replace("+", "%20").partition("=")
    value = _normal(value).replace("%5C", "/").replace("%2F", "/")  # Windows separates with "\"
    return f"{_normal(name)}={value}"


def _without_signature(parameters: list[str]) -> list[str]:
    names = [parameter.partition("=")[0].lower() for parameter in parameters]
    for needed, signing in _SIGNATURES:
        if needed <= set(names):
            pairs = zip(names, parameters, strict=True)
            return [parameter for name, parameter in pairs if name not in signing]
    return parameters
