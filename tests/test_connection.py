"""How a server is reached: addresses, keys, proxies, certificates; and what is said where that fails."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qdrant_client import QdrantClient

from commands import Vecloom
from qdrant_standin import Standin
from vecloom.config import Config, load_config
from vecloom.errors import ConfigError, StoreError, UsageError
from vecloom.index import Index
from vecloom.stores import connection
from vecloom.stores.client import ClientStore
from vecloom.stores.connection import address_of, connect, parse_address, shown
from vecloom.stores.proxy import find_grpc_proxy, find_proxy
from vecloom.types import Schema

KEY = "sekret-123"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("QDRANT_URL", "QDRANT_API_KEY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    monkeypatch.setattr(connection, "SHORT_PATIENCE", 0.2)


@pytest.fixture(scope="module")
def keyed() -> Iterator[Standin]:
    with Standin(api_key=KEY) as standin:
        yield standin


# Addresses.


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host", "http://host:6333"),
        ("http://host/", "http://host:6333"),
        ("https://host", "https://host:6333"),
        ("http://host/qdrant", "http://host:80/qdrant"),
        ("http://host/qdrant/", "http://host:80/qdrant"),
        ("https://host/a/b", "https://host:443/a/b"),
        ("http://host:6333/qdrant", "http://host:6333/qdrant"),
        ("https://host:8443", "https://host:8443"),
        ("http://[::1]:7000/x", "http://[::1]:7000/x"),
        ("grpc://host", "grpc://host:6334"),
        ("grpcs://host:7000", "grpcs://host:7000"),
    ],
)
def test_the_address_that_a_url_means(url: str, address: str) -> None:
    client = connect(url)
    assert address_of(client) == address
    client.close()


def test_an_error_names_the_address_that_was_tried(tiny_config: Config) -> None:
    with pytest.raises(StoreError, match=r"^docs at http://127\.0\.0\.1:9/qdrant: no good answer"):
        Index.open("http://127.0.0.1:9/qdrant", collection="docs", config=tiny_config)
    with pytest.raises(StoreError, match=r"^docs at grpc://127\.0\.0\.1:9: the server answered UNAVAILABLE"):
        Index.open("grpc://127.0.0.1:9", collection="docs", config=tiny_config)


def test_a_prefix_reaches_the_port_of_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def refuse(address: Any, *rest: Any, **options: Any) -> Any:
        tried.append(address)
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for url in ("http://127.0.0.1/qdrant", "https://127.0.0.1/qdrant", "http://127.0.0.1"):
        with pytest.raises(StoreError, match="nobody listens"):
            ClientStore.open(connect(url), "docs", patience=0.0)
    assert tried == [("127.0.0.1", 80), ("127.0.0.1", 443), ("127.0.0.1", 6333)]


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{KEY}@host:6333",
        f"http://{KEY}@host:6333",
        f"http://host:6333?api-key={KEY}",
        f"http://host:6333/#{KEY}",
        f"http://host:abc?api-key={KEY}",
        f"http://[::1?api-key={KEY}",
        f"http://me:{KEY}@[::1",
        "grpc://host:6334/path",
    ],
)
def test_an_address_that_holds_more_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        connect(url)
    assert KEY not in str(refused.value) and "\n" not in str(refused.value)
    assert KEY not in shown(url)


# Keys.


@pytest.mark.parametrize("key", [f"{KEY}\n", f"  {KEY}\t", f"\r\n{KEY}"])
def test_blanks_around_a_key_are_dropped(key: str, keyed: Standin, tiny_home: Path, tmp_path: Path) -> None:
    config = load_config(environ={"VECLOOM_CONFIG": str(tiny_home / "config.toml"), "QDRANT_API_KEY": key})
    assert config.api_key == KEY
    for client in (connect(keyed.url, config.api_key), connect(keyed.url, key)):
        assert ClientStore.open(client, "nobody") is None
        client.close()
    file = tmp_path / "config.toml"
    file.write_text(f'[server]\napi_key = """{key}"""\n', "utf-8")
    assert load_config(file=file, environ={}).api_key == KEY
    assert load_config(file=file, environ={"QDRANT_API_KEY": " \n"}).api_key == KEY
    assert load_config(environ={"QDRANT_API_KEY": " \n", "VECLOOM_CONFIG": str(file)}).api_key == KEY


@pytest.mark.parametrize("key", [f"{KEY}\nx", f"{KEY}\x00", f"{KEY}\x7fx", f"{KEY}é", f"a\r\n{KEY}"])
def test_a_key_that_no_header_takes_is_refused_and_not_shown(
    key: str, tmp_path: Path, tiny_config: Config
) -> None:
    file = tmp_path / "config.toml"
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    file.write_text(f'[server]\napi_key = "{escaped}"\n', "utf-8")
    environ = {"QDRANT_API_KEY": f" {key}x\n"}
    calls: dict[str, Callable[[], Any]] = {
        "(QDRANT_API_KEY)": lambda: Index.open("https://127.0.0.1:9", config=load_config(environ=environ)),
        "server.api_key": lambda: load_config(file=file, environ={}),
        "the API key": lambda: Index.open("http://127.0.0.1:9", config=replace(tiny_config, api_key=key)),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigError) as refused:
            call()
        said = str(refused.value)
        assert name in said and ("set it again" in said or "correct the file" in said)
        assert KEY not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "text", [f'[server]\napi_key = ["{KEY}"]', f'server = "{KEY}"', f'[server]\nurl = {{a = "{KEY}"}}']
)
def test_a_wrong_config_file_does_not_show_the_key(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as refused:
        load_config(file=file, environ={})
    assert KEY not in "".join(traceback.format_exception(refused.value))


def test_a_refused_key_names_the_variable(keyed: Standin, tiny_config: Config) -> None:
    wrong = "-".join(["another", "key"])
    with pytest.raises(StoreError, match=r"401.*; no API key was sent: set QDRANT_API_KEY$"):
        Index.open(keyed.url, collection="docs", config=tiny_config)
    with pytest.raises(
        StoreError, match=r"401.*; the API key that was sent is not valid: set QDRANT_"
    ) as error:
        Index.open(keyed.url, collection="docs", config=replace(tiny_config, api_key=wrong))
    assert wrong not in "".join(traceback.format_exception(error.value))


def _answer_once(status: str, body: bytes) -> int:
    """A server that sends back one answer; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as peer:
            peer.recv(65536)
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            peer.sendall(head.encode() + body)

    threading.Thread(target=serve, daemon=True).start()
    return int(listening.getsockname()[1])


@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden", "200 OK"])
def test_a_server_that_sends_the_key_back_does_not_make_it_shown(status: str) -> None:
    port = _answer_once(status, f"you sent api-key: {KEY}".encode())
    store = ClientStore(connect(f"http://127.0.0.1:{port}", KEY), "docs", Schema(()), patience=0.0)
    with pytest.raises(StoreError) as refused:
        store.info()
    assert KEY not in "".join(traceback.format_exception(refused.value))


def test_no_part_of_a_connection_shows_the_key(keyed: Standin, tiny_config: Config) -> None:
    config = replace(tiny_config, api_key=KEY)
    assert KEY not in repr(config)
    client = connect(keyed.url, KEY)
    assert (
        KEY not in repr(client)
        and KEY not in repr(client._client)
        and KEY not in str(parse_address(keyed.url))
    )
    client.close()


# Proxies.


class Proxy:
    """Takes connections, notes what it is sent first, and closes them."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            with peer:
                self.seen.append(peer.recv(65536))

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    yield running
    running.close()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_that_would_see_the_key_is_refused(
    variable: str,
    host: str,
    proxy: Proxy,
    keyed: Standin,
    tiny_config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, f"http://me:hidden@127.0.0.1:{proxy.port}")
    config, url = replace(tiny_config, api_key=KEY), keyed.url.replace("127.0.0.1", host)
    with pytest.raises(UsageError) as refused:
        Index.open(url, collection="docs", config=config)
    said = str(refused.value)
    assert f"the proxy http://127.0.0.1:{proxy.port} in plain text; set NO_PROXY={host}, or use https" in said
    assert "hidden" not in said and KEY not in said and proxy.seen == []
    monkeypatch.setenv("NO_PROXY", host)
    assert ClientStore.open(connect(url, KEY), "docs") is None and proxy.seen == []


def test_without_a_key_a_proxy_is_used(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
    with pytest.raises(StoreError):
        ClientStore.open(connect("http://qdrant.example:6333"), "docs", patience=0.0)
    assert proxy.seen[0].startswith(b"GET http://qdrant.example:6333/collections/docs")


def test_a_tunnel_does_not_see_the_key(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(StoreError):
        ClientStore.open(connect("https://qdrant.example:6333", KEY), "docs", patience=0.0)
    assert proxy.seen[0].startswith(b"CONNECT qdrant.example:6333")
    assert not [said for said in proxy.seen if KEY.encode() in said]


def test_grpc_keeps_to_the_same_rule(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(UsageError, match="the API key would go through the proxy"):
        connect("grpc://127.0.0.1:9", KEY)
    for names in ("127.0.0.1", "*"):
        monkeypatch.setenv("no_proxy", names)
        with pytest.raises(StoreError):
            ClientStore.open(connect("grpc://127.0.0.1:9", KEY), "docs", patience=0.0)
    assert proxy.seen == []


@pytest.mark.parametrize(
    ("exceptions", "host", "is_used"),
    [
        ("", "localhost", True),
        ("*", "localhost", False),
        ("localhost", "localhost", False),
        ("other, LOCALHOST", "localhost", False),
        (".example.org", "qdrant.example.org", False),
        ("*.example.org", "qdrant.example.org", False),
        ("example.org", "qdrant.example.org", False),
        ("example.org", "example.org.evil", True),
        ("ample.org", "example.org", True),
        ("127.0.0.1:6333", "127.0.0.1", False),
        ("127.0.0.1:9", "127.0.0.1", True),
        ("::1", "::1", False),
        ("[::1]", "::1", False),
    ],
)
def test_what_no_proxy_names(
    exceptions: str, host: str, is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", exceptions)
    wanted = "http://proxy:3128" if is_used else None
    assert find_proxy("http", host, 6333) == find_grpc_proxy(host, 6333) == wanted
    assert find_proxy("https", host, 6333) is None


@pytest.mark.parametrize("proxy_url", ["ftp://proxy:1", "http://proxy:port", "socks5://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_one_line(proxy_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy_url)
    if proxy_url.startswith("socks") and find_spec("socksio") is not None:
        pytest.skip("socksio is installed")
    with pytest.raises(UsageError, match=proxy_url):
        connect("https://127.0.0.1:6333")


# Certificates.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``ca.pem``, ``other.pem`` (another CA) and ``server.pem`` (certificate and key)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "other"):
        made = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN=vecloom {name}"]
        openssl("req", "-x509", *key, *made)
    (folder / "names.txt").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names.txt"]
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.crt", *signed)
    joined = (folder / "server.crt").read_text() + (folder / "server.key").read_text()
    (folder / "server.pem").write_text(joined)
    return folder


@pytest.fixture(scope="module")
def secure(certificates: Path) -> Iterator[Standin]:
    with Standin(api_key=KEY, certificate=certificates / "server.pem") as standin:
        yield standin


def test_a_private_ca_is_trusted(
    secure: Standin, certificates: Path, vecloom: Vecloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ClientStore.open(connect(secure.url, KEY, certificates / "ca.pem"), "docs") is None
    file = tmp_path / "config.toml"
    shutil.copy(certificates / "ca.pem", tmp_path / "my ca.pem")
    file.write_text(f'[server]\nurl = "{secure.url}"\napi_key = "{KEY}"\nca = "my ca.pem"\n', "utf-8")
    monkeypatch.setenv("VECLOOM_CONFIG", str(file))
    done = vecloom("search", "x", "--collection", "docs")
    assert done.code == 1 and "there is no https://" in done.err


@pytest.mark.parametrize("ca", [None, "other.pem"])
def test_a_certificate_that_is_not_trusted_is_one_line_at_once(
    ca: str | None, secure: Standin, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Threads of other tests sleep too.
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: pytest.fail("it is tried again"))
    monkeypatch.setattr(connection, "time", clock)
    for url in (secure.url, secure.url.replace("https", "grpcs")):
        store = ClientStore(
            connect(url, KEY, None if ca is None else certificates / ca), "docs", Schema(()), patience=60.0
        )
        with pytest.raises(StoreError) as refused:
            store.info()
        said = str(refused.value)
        assert "CERTIFICATE_VERIFY_FAILED" in said and "\n" not in said
        assert said.endswith("for a private CA, name its PEM file as [server] ca in the config file")


def test_grpc_trusts_a_private_ca(certificates: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    credentials = grpc.ssl_server_credentials(
        [((certificates / "server.key").read_bytes(), (certificates / "server.crt").read_bytes())]
    )
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    client: QdrantClient = connect(f"grpcs://127.0.0.1:{port}", KEY, certificates / "ca.pem")
    with pytest.raises(StoreError, match="UNIMPLEMENTED"):  # it was reached: it has no method
        ClientStore.open(client, "docs", patience=0.0)
    client.close()
    server.stop(None)


def test_certificates_of_the_environment_that_are_none_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none.pem").write_text("")
    for name in ("none.pem", "gone.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
        with pytest.raises(ConfigError, match=rf"^SSL_CERT_FILE = .*{name}.* cannot be used"):
            connect("https://host")
        connect("http://host").close()


def test_a_ca_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for name, text, said in (
        ("gone.pem", None, "cannot be read (No such file or directory)"),
        ("empty.pem", "", "holds no PEM certificate"),
        ("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no PEM"),
        ("key.pem", "api_key = sekret-123", "holds no PEM certificate"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        for scheme in ("https", "grpcs"):
            with pytest.raises(ConfigError) as refused:
                connect(f"{scheme}://host", None, tmp_path / name)
            assert (
                said in str(refused.value) and name in str(refused.value) and "\n" not in str(refused.value)
            )
            assert KEY not in str(refused.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        connect("https://host", None, tmp_path)
