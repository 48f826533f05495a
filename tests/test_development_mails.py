"""Development's letter box: who may read which mail, and what the page is told of it."""

import pytest

from server.app import build
from tests.auth_flow import settings_for
from tests.running import IN_MODULE_LOOP, booked, eventually, pay, problem, running, served
from tests.smtp_sink import sinking
from tests.test_letters import Tags

pytestmark = IN_MODULE_LOOP

server = served()


async def sold(server, *seats):
    booking = await booked(server.bob, await server.showtime(), *seats)
    assert (await pay(server.bob, booking)).status_code == 200
    return booking


async def landed(client, name):
    async def look():
        answer = await client.get(f"/dev/mails/{name}")
        return answer if answer.status_code == 200 else None

    return await eventually(look)


async def ticket_of(client):
    return (await client.post("/api/auth/ticket")).json()["ticket"]


async def test_the_mail_of_a_sale_lands_and_its_owner_reads_it(server):
    booking = await sold(server, "A1")
    answer = await landed(server.bob, f"{booking}.confirmed")
    assert answer.headers["content-type"] == "message/rfc822"
    assert answer.headers["cache-control"] == "no-store"
    assert b"To: Bob <bob@example.com>" in answer.content
    (file,) = server.settings.data_dir.glob(f"mails/*/{booking}.confirmed.eml")
    assert file.read_bytes() == answer.content


async def test_a_refund_lands_too(server):
    booking = await sold(server, "A1", "A2")
    await server.bob.delete(f"/api/bookings/{booking}?seats=A1")
    await server.bob.delete(f"/api/bookings/{booking}")
    assert b"seat A1 went back" in (await landed(server.bob, f"{booking}.refund-0")).content
    assert b"of seat A2 is cancelled" in (await landed(server.bob, f"{booking}.refund-1")).content


async def test_who_had_seats_of_a_showtime_that_will_not_be_is_told(server):
    booking = await sold(server, "A1", "A2")
    showtime = (await server.stored.booking(booking))["showtime_id"]
    answer = await server.ada.post(f"/api/admin/showtimes/{showtime}/cancel", json={"why": "fire"})
    assert answer.status_code in (200, 202)
    mail = (await landed(server.bob, f"{booking}.refund-0")).content
    assert b"the cinema has cancelled this showtime" in mail
    assert b"EUR 20.00" in mail


async def test_nobody_reads_the_mail_of_another(server):
    path = f"/dev/mails/{await sold(server, 'A1')}.confirmed"
    await landed(server.bob, path.rpartition("/")[2])
    for client in (server.eve, server.ada):
        problem(await client.get(path), 404, "not_found")
    problem(await server.visitor.get(path), 401, "unauthenticated")
    problem(await server.visitor.post(path), 401, "unauthenticated")
    problem(await server.visitor.post(path, data={"ticket": "x" * 43}), 401, "unauthenticated")


async def test_a_ticket_in_the_form_shows_the_mail_once(server):
    path = f"/dev/mails/{await sold(server, 'B1')}.confirmed"
    ticket = await ticket_of(server.bob)
    answer = await server.visitor.post(path, data={"ticket": ticket})  # at once: it is on its way
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    tags = Tags(answer.text)
    assert "B1" in tags.words
    (picture,) = [attributes for tag, attributes in tags.tags if tag == "img"]
    assert picture["src"].startswith("data:image/png;base64,")
    problem(await server.visitor.post(path, data={"ticket": ticket}), 401, "unauthenticated")


@pytest.mark.parametrize("name", ["..", "..%2fsecret", "x", "a.b.c.d", "%00", "ä.confirmed"])
async def test_a_name_that_is_none_is_not_found(server, name):
    answer = await server.bob.get(f"/dev/mails/{name}")
    assert answer.status_code == 404


async def test_a_mail_that_never_lands_is_not_found(server, monkeypatch):
    monkeypatch.setattr("server.api.development_mails._PATIENCE_SECONDS", 0.2)
    form = {"ticket": await ticket_of(server.bob)}
    answer = await server.visitor.post("/dev/mails/bk_1.confirmed", data=form)
    problem(answer, 404, "not_found")


async def test_the_qr_leads_to_the_mail(server):
    booking = await sold(server, "B2")
    answer = await server.bob.get(f"/api/bookings/{booking}/ticket.svg")
    assert answer.headers["link"] == f'</dev/mails/{booking}.confirmed>; rel="alternate"'


def routes(**changes):
    stores = {"redis_url": "redis://127.0.0.1:1", "mongo_uri": "mongodb://127.0.0.1:1"}
    app = build(settings_for(**stores, **changes))
    return {getattr(route, "path", "") for route in app.routes}


async def test_the_letter_box_is_there_in_development_without_a_mail_server_alone():
    post = {"smtp_url": "smtp://mail.test", "mail_from": "t@cinema.test"}
    oidc = {"google_client_id": "x", "google_client_secret": "y", "public_url": "https://c.test"}
    assert "/dev/mails/{name}" in routes()
    assert "/dev/mails/{name}" not in routes(**post)
    for environment in ("staging", "production"):
        assert "/dev/mails/{name}" not in routes(app_env=environment, **oidc)
        assert "/dev/mails/{name}" not in routes(app_env=environment, **oidc, **post)


async def test_with_a_mail_server_the_page_is_led_nowhere(valkey, mongo):
    async with sinking() as sink:
        post = {"smtp_url": sink.url, "mail_from": "Rowlock <t@cinema.test>"}
        async with running(valkey, mongo, **post) as server:
            booking = await sold(server, "A1")
            answer = await server.bob.get(f"/api/bookings/{booking}/ticket.svg")
            assert "link" not in answer.headers

            async def arrived():
                return sink.to("bob@example.com")

            (mail,) = await eventually(arrived)
            assert mail["From"].addresses[0].addr_spec == "t@cinema.test"
            assert not (server.settings.data_dir / "mails").exists()
