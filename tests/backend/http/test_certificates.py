"""Hosts with certificates of a private authority. A real TLS server on loopback."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backend.http import certificates
from backend.http.addresses import AllowedHosts
from backend.http.client import HttpClient, Limits, parse_url
from backend.http.errors import HttpClientError
from backend.service import connect_http
from backend.settings import Settings

Issue = Callable[..., Path]


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def issue(tmp_path_factory: pytest.TempPathFactory) -> Issue:
    """Makes authorities, and certificates for a name; gives the folder with the files."""

    def make(name: str = "IP:127.0.0.1", not_after: str | None = None) -> Path:
        folder = tmp_path_factory.mktemp("authority")
        key, authority = folder / "ca.key", folder / "ca.pem"
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            key,
            "-out",
            authority,
            "-subj",
            "/CN=A private authority",
        )
        openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            folder / "host.key",
            "-out",
            folder / "host.csr",
            "-subj",
            "/CN=host",
        )
        (folder / "extensions").write_text(f"subjectAltName={name}\n")
        (folder / "serial").write_text("01\n")
        (folder / "index").touch()
        (folder / "config").write_text(
            "[ca]\ndefault_ca=own\n[own]\npolicy=any\ndefault_md=sha256\n"
            f"database={folder}/index\nserial={folder}/serial\nnew_certs_dir={folder}\n"
            "[any]\ncommonName=supplied\n"
        )
        openssl(
            "ca",
            "-batch",
            "-config",
            folder / "config",
            "-cert",
            authority,
            "-keyfile",
            key,
            "-startdate",
            "20200101000000Z",
            "-enddate",
            not_after or "20991231000000Z",
            "-extfile",
            folder / "extensions",
            "-in",
            folder / "host.csr",
            "-out",
            folder / "host.pem",
            "-notext",
        )
        return folder

    return make


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves over TLS with the certificate of a folder; gives the URL."""
    servers: list[ThreadingHTTPServer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"image")

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:  # a client that refuses the certificate
            pass

    def start(folder: Path) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "host.pem", folder / "host.key")
        server = Server(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"https://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(url: str, **environment: str) -> bytes:
    settings = Settings.from_env({"ALLOWED_HOSTS": "127.0.0.1", **environment})
    http = connect_http(settings)
    return http.request("GET", parse_url(url), deadline=http.deadline()).content


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_private_authority_is_trusted_once_a_variable_names_it(
    issue: Issue, serve: Callable[[Path], str], variable: str
) -> None:
    folder = issue()
    url = serve(folder)
    assert ask(url, **{variable: str(folder / "ca.pem")}) == b"image"
    assert ask(url, **{variable: str(folder)}) == b"image"


def test_authorities_add_up(issue: Issue, serve: Callable[[Path], str]) -> None:
    first, second, public = issue(), issue(), certificates.trust()
    both = {"REQUESTS_CA_BUNDLE": str(first / "ca.pem"), "SSL_CERT_FILE": str(second / "ca.pem")}
    for folder in (first, second):
        assert ask(serve(folder), **both) == b"image"
    added = certificates.trust([first / "ca.pem", second / "ca.pem"])
    count = public.cert_store_stats()["x509"]
    assert count > 100
    assert added.cert_store_stats()["x509"] == count + 2


@pytest.mark.parametrize(
    ("name", "not_after", "sentence"),
    [
        pytest.param("IP:127.0.0.1", None, "REQUESTS_CA_BUNDLE or SSL_CERT_FILE", id="authority"),
        pytest.param("DNS:other", None, "use a host name that the certificate", id="name"),
        pytest.param("IP:127.0.0.1", "20210101000000Z", "renew the certificate", id="time"),
    ],
)
def test_a_refusal_names_the_remedy(
    issue: Issue, serve: Callable[[Path], str], name: str, not_after: str | None, sentence: str
) -> None:
    folder = issue(name, not_after)
    trusted = {} if sentence.startswith("REQUESTS") else {"SSL_CERT_FILE": str(folder / "ca.pem")}
    with pytest.raises(HttpClientError, match=f"its certificate is refused .*{sentence}"):
        ask(serve(folder), **trusted)


def test_a_refused_certificate_is_not_tried_again(
    issue: Issue, serve: Callable[[Path], str]
) -> None:
    looked_up: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return [host]

    http = HttpClient(AllowedHosts.parse("127.0.0.1"), Limits(backoff_s=0.01), resolve)
    with pytest.raises(HttpClientError, match="certificate"):
        http.request("GET", parse_url(serve(issue())), deadline=http.deadline())
    assert len(looked_up) == 1


def test_a_file_without_certificates_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(ValueError, match="x.pem holds no certificates in PEM format"):
        connect_http(Settings.from_env({"SSL_CERT_FILE": str(tmp_path / "x.pem")}))
    with pytest.raises(ValueError, match="REQUESTS_CA_BUNDLE is .*no such file or folder"):
        Settings.from_env({"REQUESTS_CA_BUNDLE": str(tmp_path / "gone.pem")})
