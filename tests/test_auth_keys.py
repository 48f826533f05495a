"""The key ring: what it is made of, what it refuses, and a change of keys that nobody notices."""

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from joserfc.jwk import KeySet

from server.auth.keys import KeyRing
from server.auth.tokens import AccessTokens
from server.errors import Unauthenticated
from server.models import Identity
from server.repo.users import User
from server.settings import SettingsError
from server.settings_checks import check
from tests.auth_flow import JWT_SECRET, access_token, auth_for, browser_for, settings_for, sign_in
from tests.signing import (
    ED_KEY,
    FOREIGN_ED_KEY,
    KINDS,
    OLD_ED_KEY,
    RSA_KEY,
    file_of,
    private_pem,
    public_pem,
    rung,
)

BOB = User("usr_bob", "bob@example.com", "Bob", "USER")
NEXT_SECRET = "the-secret-after-it-and-good-for-nothing-else"
WHO = Identity("usr_bob", "USER", "s")


def ring_of(**changes):
    return KeyRing.from_settings(settings_for(**changes))


def access_of(**changes):
    return AccessTokens(settings_for(**changes))


def refused(access, token):
    with pytest.raises(Unauthenticated):
        access.verify(token)
    return True


# -- what it is made of ---------------------------------------------------------------------------


def test_a_secret_signs_unless_there_is_a_private_key(tmp_path):
    ed = file_of(tmp_path, "ed.pem", private_pem(ED_KEY))
    rsa_file = file_of(tmp_path, "rsa.pem", private_pem(RSA_KEY))
    assert ring_of().current.algorithm == "HS256"
    assert ring_of(jwt_private_key_file=ed).current.algorithm == "EdDSA"
    assert ring_of(jwt_private_key_file=rsa_file).current.algorithm == "RS256"


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_keys_share_an_id_and_no_key_shows_itself(tmp_path, kind):
    ring = rung(kind, tmp_path).keys
    assert len(list(ring)) == len({key.id for key in ring}) == 4
    assert JWT_SECRET not in repr([*ring, ring])


def test_a_secret_that_is_named_twice_is_one_key():
    assert len(list(ring_of(jwt_previous_secrets=f"{JWT_SECRET},{NEXT_SECRET}"))) == 2


def test_only_public_halves_are_told(tmp_path):
    ring = rung("RS256", tmp_path).keys
    assert [key["kty"] for key in ring.public] == ["RSA", "OKP", "RSA"]
    known = KeySet.import_key_set({"keys": ring.public})
    assert [key.is_private for key in known.keys] == [False] * 3
    for key in ring.public:
        assert key["use"] == "sig"
        assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi", "k"}


# -- what it refuses ------------------------------------------------------------------------------

SHORT = rsa.generate_private_key(65537, 1024)
KINDS_REFUSED = {
    "short RSA": lambda: private_pem(SHORT),
    "EC": lambda: private_pem(ec.generate_private_key(ec.SECP256R1())),
    "X25519": lambda: private_pem(x25519.X25519PrivateKey.generate()),
    "Ed448": lambda: private_pem(ed448.Ed448PrivateKey.generate()),
    "DSA": lambda: private_pem(dsa.generate_private_key(2048)),
    "public": lambda: public_pem(ED_KEY),
    "with a password": lambda: ED_KEY.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush")
    ),
    "nothing": lambda: b"",
    "no PEM": lambda: b"\x00\xffhush",
}


@pytest.mark.parametrize("name", KINDS_REFUSED)
def test_another_private_key_stops_the_start_in_one_line(tmp_path, name):
    file = file_of(tmp_path, "key.pem", KINDS_REFUSED[name]())
    with pytest.raises(SettingsError) as caught:
        ring_of(jwt_private_key_file=file)
    line = str(caught.value)
    assert line.startswith("JWT_PRIVATE_KEY_FILE: needs an Ed25519 or RSA key of 2048 bits")
    assert "\n" not in line
    assert "hush" not in line


@pytest.mark.parametrize(
    "content", [public_pem(SHORT), private_pem(ED_KEY), b"", b"no key"], ids=range(4)
)
def test_another_public_key_stops_the_start_in_one_line(tmp_path, content):
    file = file_of(tmp_path, "key.pem", content)
    with pytest.raises(SettingsError, match=r"^JWT_PREVIOUS_PUBLIC_KEYS: .*key\.pem .*key.*$"):
        ring_of(jwt_previous_public_keys=str(file))


def test_a_file_that_is_not_there_is_named(tmp_path):
    for name in ("jwt_private_key_file", "jwt_previous_public_keys"):
        with pytest.raises(SettingsError) as caught:
            ring_of(**{name: str(tmp_path / "nowhere.pem")})
        assert str(caught.value).startswith(f"{name.upper()}: cannot read ")


@pytest.mark.parametrize("weak", ["short", "change-me-" * 4, "a" * 40])
def test_a_weak_previous_secret_stops_the_start_outside_development(weak):
    strong = "Zk3rT9vQ1xLm7Wc5Yb8Nd2Hs6Jf4Gp0Ae"
    settings = settings_for(
        app_env="production",
        mongo_uri="mongodb://db.test/rowlock",
        redis_url="redis://cache.test",
        public_url="https://rowlock.test",
        jwt_secret=strong,
        jwt_previous_secrets=f"{strong[::-1]},{weak}",
        google_client_id="id",
        google_client_secret="GOCSPX-Zk3rT9vQ1xLm7Wc5Yb8Nd2Hs",
    )
    with pytest.raises(SettingsError) as caught:
        check(settings)
    assert str(caught.value).startswith("JWT_PREVIOUS_SECRETS: ")
    assert weak not in str(caught.value)
    check(settings.model_copy(update={"jwt_previous_secrets": ()}))


# -- a change of keys -----------------------------------------------------------------------------


def test_a_token_of_the_old_secret_is_good_as_long_as_that_is_named():
    token = access_of().mint(BOB, "s")[0]
    rotated = {"jwt_secret": NEXT_SECRET, "jwt_previous_secrets": JWT_SECRET}
    assert access_of(**rotated).verify(token) == WHO
    assert access_of(jwt_previous_secrets=NEXT_SECRET).verify(
        access_of(**rotated).mint(BOB, "s")[0]
    )
    assert refused(access_of(jwt_secret=NEXT_SECRET), token)


def test_from_a_secret_to_a_private_key_to_the_next_one(tmp_path):
    first = {"jwt_private_key_file": file_of(tmp_path, "1.pem", private_pem(OLD_ED_KEY))}
    second = {"jwt_private_key_file": file_of(tmp_path, "2.pem", private_pem(RSA_KEY))}
    public = str(file_of(tmp_path, "1.pub", public_pem(OLD_ED_KEY)))
    by_secret, by_first = access_of().mint(BOB, "s")[0], access_of(**first).mint(BOB, "s")[0]
    assert access_of(**first, jwt_previous_secrets=JWT_SECRET).verify(by_secret) == WHO
    assert access_of(**second, jwt_previous_public_keys=public).verify(by_first) == WHO
    assert refused(access_of(**first), by_secret)
    assert refused(access_of(**second), by_first)
    foreign = {"jwt_private_key_file": file_of(tmp_path, "3.pem", private_pem(FOREIGN_ED_KEY))}
    assert refused(access_of(**first), access_of(**foreign).mint(BOB)[0])


@pytest.mark.parametrize("kind", ["secret", "private key"])
async def test_a_change_of_keys_signs_nobody_out(database, tmp_path, kind):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser, "bob@example.com")
        bearer = {"Authorization": f"Bearer {await access_token(browser)}"}
        cookies = browser.cookies
    changes = {"jwt_secret": NEXT_SECRET, "jwt_previous_secrets": JWT_SECRET}
    if kind == "private key":
        changes["jwt_private_key_file"] = file_of(tmp_path, "key.pem", private_pem(ED_KEY))
    async with browser_for(auth_for(database, settings_for(**changes))) as browser:
        browser.cookies = cookies
        assert (await browser.get("/api/me", headers=bearer)).status_code == 200
        for _ in range(2):
            bearer = {"Authorization": f"Bearer {await access_token(browser)}"}
            assert (await browser.get("/api/me", headers=bearer)).status_code == 200
    assert await database["sessions"].count_documents({}) == 1


async def test_between_two_servers_amid_a_change_the_grace_holds(database):
    """Either knows the other's secret: what one has answered, the other answers again."""
    page = {"Sec-Fetch-Site": "same-origin"}
    old = auth_for(database, settings_for(jwt_previous_secrets=NEXT_SECRET))
    new = auth_for(database, settings_for(jwt_secret=NEXT_SECRET, jwt_previous_secrets=JWT_SECRET))
    async with browser_for(old) as one, browser_for(new) as other:
        await sign_in(one)
        spent = one.cookies["rowlock_refresh"]
        for browser in (one, other, other, one):
            headers = {**page, "Cookie": f"rowlock_refresh={spent}"}
            answer = await browser.post("/api/auth/refresh", headers=headers)
            assert answer.status_code == 200
            current = answer.cookies["rowlock_refresh"]
            headers = {**page, "Cookie": f"rowlock_refresh={current}"}
            assert (await other.post("/api/auth/refresh", headers=headers)).status_code == 200
