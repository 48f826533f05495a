"""Handing mails over: to a real SMTP server, and into files."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server import settings
from server.mail import (
    FileMailer,
    Mail,
    MailPostponed,
    MailRefused,
    MailServerAway,
    SmtpMailer,
    mailer_for,
)
from server.settings import SettingsError
from tests.auth_flow import settings_for
from tests.smtp_sink import sinking

SENDER = "tickets@cinema.test"


def a_mail(address="bob@example.com", text="Grüße, Bob", name="bk_1.confirmed"):
    message = EmailMessage(policy=SMTP)
    message["From"] = f"Cinéma <{SENDER}>"
    message["To"] = address
    message["Subject"] = "Zwölf Plätze"
    message["Message-ID"] = f"<{name}@cinema.test>"
    message.set_content(text)
    return Mail(name, "usr_bob", address, message)


async def test_a_mail_arrives_as_it_was_written():
    async with sinking() as sink:
        await SmtpMailer(sink.url, SENDER).send(a_mail())
    (mail,) = sink.mails
    assert mail["Subject"] == "Zwölf Plätze"
    assert mail["From"].addresses[0].display_name == "Cinéma"
    assert mail.get_content().strip() == "Grüße, Bob"
    assert sink.rcpts == ["bob@example.com"]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("550 5.1.1 <bob@example.com>: no such user", MailRefused),
        ("551 gone", MailRefused),
        ("450 4.2.1 later", MailPostponed),
        ("452 full", MailPostponed),
        ("421 closing", MailPostponed),
    ],
)
async def test_what_a_server_says_of_a_recipient_decides(reply, error):
    async with sinking() as sink:
        sink.refusals["bob@example.com"] = reply
        mailer = SmtpMailer(sink.url, SENDER)
        with pytest.raises(error) as raised:
            await mailer.send(a_mail())
        assert reply[:3] in str(raised.value)
        assert "bob" not in str(raised.value)
        await mailer.send(a_mail("eve@example.com"))
    assert [mail["To"] for mail in sink.mails] == ["eve@example.com"]


@pytest.mark.parametrize(
    ("reply", "error"), [("554 not like this", MailRefused), ("451 busy", MailPostponed)]
)
async def test_what_a_server_says_of_a_whole_mail_decides(reply, error):
    async with sinking() as sink:
        sink.data_reply = reply
        with pytest.raises(error, match=reply[:3]):
            await SmtpMailer(sink.url, SENDER).send(a_mail())
    assert sink.mails == []


async def test_a_sender_that_is_refused_is_no_fault_of_the_mail():
    """It is our own setting: every mail would be refused, so none is given up."""
    async with sinking() as sink:

        async def handle_MAIL(*_):  # noqa: N802
            return "553 5.7.1 not yours"

        sink.handle_MAIL = handle_MAIL
        with pytest.raises(MailServerAway, match="553"):
            await SmtpMailer(sink.url, SENDER).send(a_mail())


async def test_a_server_that_is_not_there_is_away(unused_tcp_port):
    with pytest.raises(MailServerAway):
        await SmtpMailer(f"smtp://127.0.0.1:{unused_tcp_port}", SENDER).send(a_mail())


async def test_a_server_that_never_speaks_is_away(monkeypatch):
    monkeypatch.setattr("server.mail.CONNECT_SECONDS", 0.2)
    left = asyncio.Event()

    async def silence(reader, writer):
        await reader.read()  # until the other side hangs up
        writer.close()
        await writer.wait_closed()
        left.set()

    silent = await asyncio.start_server(silence, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(MailServerAway):
            await SmtpMailer(f"smtp://127.0.0.1:{port}", SENDER).send(a_mail())
        async with asyncio.timeout(5):
            await left.wait()


@pytest.mark.parametrize("way", ["closes", "hangs"])
async def test_a_connection_that_is_lost_in_the_middle_leaves_the_outcome_open(way, monkeypatch):
    monkeypatch.setattr("server.mail.TRANSFER_SECONDS", 0.5)
    async with sinking() as sink:

        async def handle_DATA(server, session, envelope):  # noqa: N802
            if way == "closes":
                server.transport.abort()
            await asyncio.sleep(1)
            return "250 OK"

        sink.handle_DATA = handle_DATA
        with pytest.raises(MailPostponed):
            await SmtpMailer(sink.url, SENDER).send(a_mail())


async def test_an_address_in_another_script_needs_a_server_that_knows_it():
    async with sinking() as sink:
        await SmtpMailer(sink.url, SENDER).send(a_mail("bøb@example.com"))
    assert sink.rcpts == ["bøb@example.com"]
    async with sinking(enable_SMTPUTF8=False) as sink:
        with pytest.raises(MailRefused):
            await SmtpMailer(sink.url, SENDER).send(a_mail("bøb@example.com"))
    assert sink.rcpts == []


class Certified:
    """An authority that a mailer may trust, and what a server for 127.0.0.1 shows of it."""

    def __init__(self, folder):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file = folder / "localhost.pem"
        file.write_bytes(private + pem)
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(file)
        self.client = ssl.create_default_context(cadata=pem.decode())


@pytest.fixture
def certified(tmp_path):
    return Certified(tmp_path)


def password_of(heard):
    def authenticate(server, session, envelope, mechanism, data):
        heard.append((server.session.ssl is not None, data))
        good = isinstance(data, LoginPassword) and data.password == b"p@ss:word"
        return AuthResult(success=good, handled=False)

    return authenticate


async def test_a_password_is_sent_over_tls_alone(certified):
    heard = []
    check = password_of(heard)
    async with sinking(tls_context=certified.server, authenticator=check) as sink:
        url = f"smtp://mailer:p%40ss%3Aword@localhost:{sink.port}"
        await SmtpMailer(url, SENDER, certified.client).send(a_mail())
        assert len(sink.mails) == 1
        assert heard == [(True, LoginPassword(b"mailer", b"p@ss:word"))]
        wrong = f"smtp://mailer:wrong@localhost:{sink.port}"
        with pytest.raises(MailServerAway, match="535"):
            await SmtpMailer(wrong, SENDER, certified.client).send(a_mail())
    heard.clear()
    async with sinking(auth_require_tls=False, authenticator=check) as sink:  # and no STARTTLS
        url = f"smtp://mailer:p%40ss%3Aword@localhost:{sink.port}"
        with pytest.raises(MailServerAway):
            await SmtpMailer(url, SENDER, certified.client).send(a_mail())
    assert heard == []


async def test_a_server_that_cannot_prove_its_name_gets_nothing(certified):
    async with sinking(tls_context=certified.server) as sink:
        with pytest.raises(MailServerAway):
            await SmtpMailer(f"smtp://localhost:{sink.port}", SENDER).send(a_mail())
    assert sink.rcpts == []


async def test_smtps_speaks_tls_from_the_start(certified):
    async with sinking() as sink:
        await sink.stop()
        loop = asyncio.get_running_loop()
        tls = await loop.create_server(sink._connection, "127.0.0.1", 0, ssl=certified.server)
        port = tls.sockets[0].getsockname()[1]
        await SmtpMailer(f"smtps://localhost:{port}", SENDER, certified.client).send(a_mail())
        tls.close()
    assert len(sink.mails) == 1


class TestFiles:
    async def test_a_mail_lands_whole_and_a_repeat_replaces_it(self, tmp_path):
        mailer = FileMailer(tmp_path / "mails")
        await mailer.send(a_mail(text="first"))
        await mailer.send(a_mail(text="second"))
        (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert file == tmp_path / "mails" / "usr_bob" / "bk_1.confirmed.eml"
        landed = await mailer.read("usr_bob", "bk_1.confirmed")
        assert landed == file.read_bytes()
        assert b"second" in landed

    async def test_only_what_was_sent_to_a_person_is_read_for_them(self, tmp_path):
        mailer = FileMailer(tmp_path / "mails")
        await mailer.send(a_mail())
        (tmp_path / "secret.eml").write_text("no")
        for user, name in [
            ("usr_eve", "bk_1.confirmed"),
            ("usr_bob", "bk_2.confirmed"),
            ("..", "secret"),
            ("usr_bob", "../../secret"),
            ("usr_bob/..", "usr_bob/bk_1.confirmed"),
            ("usr_bob", "..secret"),
            ("usr_bob", ""),
        ]:
            assert await mailer.read(user, name) is None

    async def test_a_place_that_cannot_be_written_to_is_no_fault_of_the_mail(self, tmp_path):
        (tmp_path / "mails").write_text("a file, where a folder should be")
        with pytest.raises(MailServerAway):
            await FileMailer(tmp_path / "mails").send(a_mail())


class TestChoice:
    def test_development_writes_files_unless_a_server_is_named(self, tmp_path):
        assert isinstance(mailer_for(settings_for(data_dir=tmp_path)), FileMailer)
        named = {"smtp_url": "smtp://mail.test", "mail_from": SENDER}
        assert isinstance(mailer_for(settings_for(**named)), SmtpMailer)

    @pytest.mark.parametrize("environment", ["staging", "production"])
    def test_elsewhere_there_is_no_way_out_without_a_server(self, environment):
        assert mailer_for(settings_for(app_env=environment)) is None

    def test_a_mail_server_that_cannot_be_meant_stops_the_start_and_is_not_repeated(
        self, monkeypatch, tmp_path
    ):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MAIL_FROM", "Rowlock <tickets@cinema.test>")
        for url in ("mail.test", "http://:hush@mail.test", "smtp://", "smtp://u:hush@mail.test:x"):
            monkeypatch.setenv("SMTP_URL", url)
            with pytest.raises(SettingsError, match=r"^SMTP_URL: ") as raised:
                settings.load()
            assert "hush" not in str(raised.value)
        monkeypatch.setenv("SMTP_URL", "smtps://u:hush@mail.test")
        assert "hush" not in repr(settings.load())

    @pytest.mark.parametrize(
        "sender", ["", "Rowlock", "a@b>", "<a@b", "a b@c.test", "a@b\nBcc: x@y"]
    )
    def test_who_sends_has_to_say_from_whom(self, monkeypatch, tmp_path, sender):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SMTP_URL", "smtp://mail.test")
        monkeypatch.setenv("MAIL_FROM", sender)
        with pytest.raises(SettingsError, match=r"^MAIL_FROM: "):
            settings.load()

    def test_an_address_alone_will_do_as_a_sender(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SMTP_URL", "smtp://mail.test")
        for sender in ("t@cinema.test", "Kino Zoë <t@cinema.test>"):
            monkeypatch.setenv("MAIL_FROM", sender)
            assert settings.load().mail_from == sender
