"""A Redis that is reached by TLS alone: each kind of connection takes the options of REDIS_URL.

The TLS is a proxy's: not every build of the server has it.
"""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.embedded import EmbeddedValkey
from server.realtime.listener import Listener
from server.repo.redis import connect
from tests.toxic_proxy import ToxicProxy

CHANNEL = "rowlock:{0}:test"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, and its key in the same file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([here]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    written = tmp_path / "both.pem"
    written.write_bytes(
        made.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return written


@pytest.fixture
async def encrypted(valkey: EmbeddedValkey, certificate: Path) -> AsyncIterator[ToxicProxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with ToxicProxy(valkey.port, tls=context) as proxy:
        yield proxy


async def test_every_kind_of_connection_trusts_the_authority_of_the_address(
    encrypted: ToxicProxy, certificate: Path
) -> None:
    """An authority that is given as text was once known to the driver alone."""
    authority = certificate.read_text().partition("-----BEGIN PRIVATE")[0]
    url = f"rediss://127.0.0.1:{encrypted.port}/0?ssl_ca_data={quote(authority)}"
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    there = asyncio.Event()
    client = connect(url)
    listener = Listener(url, lambda _, payload: heard.put_nowait(payload), lambda _: there.set())
    listener.start()
    listener.subscribe(CHANNEL)
    try:
        async with asyncio.timeout(5):
            assert await client.ping()
            assert await client.wire_to(CHANNEL).call("PING") == "PONG"
            await there.wait()
            await client.execute_command("SPUBLISH", CHANNEL, "hi")
            assert await heard.get() == b"hi"
    finally:
        await listener.stop()
        await client.aclose()


async def test_no_wire_trusts_a_stranger(encrypted: ToxicProxy) -> None:
    client = connect(f"rediss://127.0.0.1:{encrypted.port}/0")
    try:
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.wire_to(CHANNEL).call("PING")
    finally:
        await client.aclose()
