"""The page, parsed and checked as a browser would read it; in a real one where there is a Chromium."""

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from scheduler.api.app import create_app
from scheduler.api.client import HttpJobService
from scheduler.api.page.render import SECURITY_HEADERS
from scheduler.api.server import ApiServer
from tests.scheduler.api.browser import browser, browser_program
from tests.scheduler.api.page_world import HOSTILE, LOG, PageWorld

TOKEN = "a token"
VOID = {"meta", "link", "br", "img", "line", "polyline"}


class Document(HTMLParser):
    """A parsed page: its elements with their attributes, and its text; tags must be balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that ends at once."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Check that it ends what was opened last."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data

    def values(self, name: str) -> list[str]:
        """Every value of an attribute."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def count(self, tag: str) -> int:
        """How many elements of a kind there are."""
        return sum(found == tag for found, _ in self.elements)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PageWorld]:
    """Give a scheduler with one of everything."""
    made = PageWorld(f"sqlite:///{tmp_path / 'store.sqlite'}")
    yield made
    made.database.close()


@pytest.fixture
def server(world: PageWorld) -> Iterator[str]:
    """Serve it."""
    with ApiServer(create_app(world.service, TOKEN, world.clock.now)) as running:
        yield running.url


@pytest.fixture
def link(server: str) -> str:
    """Give a link that signs in."""
    with HttpJobService(server, TOKEN) as client:
        return client.page_link()


@pytest.fixture
def visitor(server: str, link: str) -> Iterator[httpx.Client]:
    """Give a browser that has signed in."""
    with httpx.Client(base_url=server, trust_env=False, follow_redirects=True) as client:
        assert client.get(link).status_code == 200
        yield client


def _addresses(world: PageWorld) -> list[str]:
    return [
        "/ui/",
        f"/ui/jobs/{world.done}",
        f"/ui/jobs/{world.done}?show=succeeded&after=100",
        f"/ui/jobs/{world.running}",
        f"/ui/jobs/{world.running}/tasks/0",
        f"/ui/jobs/{world.done}/tasks/7",
        "/ui/pools/risk",
        "/ui/schedules/hourly",
        "/ui/schedules/once",
        "/ui/nodes/vmss-1_0",
    ]


def test_every_page_is_sound(world: PageWorld, visitor: httpx.Client) -> None:
    """Balanced, without a script or a style of its own, ids once each, references that resolve, headed tables."""
    for address in _addresses(world):
        answer = visitor.get(address)
        assert answer.status_code == 200, address
        page = Document(answer.text)
        assert (page.count("script"), page.count("style"), page.count("img"), page.count("h1")) == (1, 0, 0, 1)
        assert [name for name in page.values("src") if not name.startswith("/ui/")] == []
        handlers = [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        assert handlers == page.values("style") == []
        ids = Counter(page.values("id"))
        assert max(ids.values()) == 1
        assert set(page.values("aria-labelledby")) <= set(ids)
        assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
        assert all(attributes.get("aria-label") for tag, attributes in page.elements if tag == "progress")
        assert ("html", {"lang": "en"}) in page.elements


def test_every_link_leads_somewhere(world: PageWorld, visitor: httpx.Client) -> None:
    """Each link of each page is of this server and answers."""
    links = {link for address in _addresses(world) for link in Document(visitor.get(address).text).values("href")}
    links = {link for link in links if not link.startswith("#")}
    assert len(links) > 100
    assert all(link.startswith(("/ui/", "/v1/")) for link in links)
    some = [link for link in sorted(links) if "/tasks/" not in link or re.search(r"/tasks/(0|7|290)\b", link)]
    # The hand-worked node of the other job is none that the scheduler knows.
    broken = [link for link in some if visitor.get(link).status_code != 200]
    assert set(broken) <= {"/ui/nodes/node", "/ui/jobs/job", "/ui/jobs/job/tasks/0"}


def test_hostile_text_stays_text(world: PageWorld, visitor: httpx.Client) -> None:
    """Names, reasons, outputs and notes of others are shown letter by letter."""
    for address in ("/ui/", f"/ui/jobs/{world.done}", "/ui/pools/risk", "/ui/nodes/vmss-1_0"):
        answer = visitor.get(address).text
        assert "<script>document" not in answer
        assert HOSTILE in Document(answer).text


def test_schedules_tell_what_comes_and_what_became(world: PageWorld, visitor: httpx.Client) -> None:
    """The first page has each with its next time and last results; its own has every run with its job."""
    runs = world.service.list_runs("hourly")
    home, own = Document(visitor.get("/ui/").text), Document(visitor.get("/ui/schedules/hourly").text)
    coming = world.service.get_schedule("hourly").next_occurrences[0]
    assert f"{coming:%Y-%m-%d %H:%M:%S}" in home.text
    assert "every 1h" in home.text
    for run in runs:
        if run.job_id is not None:
            assert f"/ui/jobs/{run.job_id}" in home.values("href")
            assert f"/ui/jobs/{run.job_id}" in own.values("href")
    assert [run.state.value for run in runs] == ["active", "missed", "completed"]
    for word in (
        "by hand",
        "missed",
        "cancelled",
        "1 older occurrence came to nothing",
        "a job waits for the one before it",
    ):
        assert word in own.text
    assert "No occurrence has come yet" in visitor.get("/ui/schedules/once").text
    assert visitor.get("/ui/schedules/none").status_code == 404


def test_failed_tasks_come_first_and_a_filter_narrows(world: PageWorld, visitor: httpx.Client) -> None:
    """The first page has the failures of the whole job on top, without repeating them; pages go on by number."""

    def tasks(address: str) -> list[str]:
        return re.findall(rf"/ui/jobs/{world.done}/tasks/(\d+)\"", visitor.get(address).text)

    here = f"/ui/jobs/{world.done}"
    first = tasks(here)
    assert first[:3] == ["7", "290", "0"]
    assert len(first) == len(set(first)) == 201
    assert tasks(f"{here}?show=failed") == ["7", "290"]
    assert tasks(f"{here}?show=cancelled") == ["300"]
    assert tasks(f"{here}?show=all&after=199")[0] == "200"
    assert tasks(f"{here}?show=nonsense") == first
    assert "after=199" in visitor.get(here).text


def test_every_answer_forbids_what_it_does_not_need(visitor: httpx.Client, server: str) -> None:
    """Pages, refusals, style and script carry the same strict headers."""
    for answer in (
        *(visitor.get(address) for address in ("/ui/", "/ui/page.css", "/ui/page.js", "/ui/none", "/ui/jobs/none")),
        httpx.get(f"{server}/ui/", trust_env=False),
        httpx.get(f"{server}/ui/enter?code=x", trust_env=False),
    ):
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_without_a_session_nothing_is_told(world: PageWorld, server: str, link: str) -> None:
    """A browser that has not signed in learns how to; a link works once; the cookie is out of reach of scripts."""
    for address in (*_addresses(world), "/ui", "/ui/anything"):
        answer = httpx.get(f"{server}{address}", trust_env=False)
        assert answer.status_code == 401
        assert "millpond ui" in Document(answer.text).text
        assert world.done not in answer.text
    entered = httpx.get(link, trust_env=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/ui/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert httpx.get(link, trust_env=False).status_code == 401


def test_a_session_can_only_look(world: PageWorld, visitor: httpx.Client) -> None:
    """It reads the API, and whatever would change something is refused."""
    assert visitor.get("/v1/jobs").status_code == 200
    for method, address in (("POST", f"/v1/jobs/{world.running}/cancel"), ("POST", "/v1/page-links")):
        answer = visitor.request(method, address)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:millpond:access-denied")
    assert world.service.get_job(world.running).reason == ""


def test_files_are_downloads(world: PageWorld, visitor: httpx.Client) -> None:
    """A file of a task is bytes under its own name, whole, whatever it holds."""
    answer = visitor.get(f"/v1/jobs/{world.done}/tasks/0/files/stdout.txt")
    assert answer.content == LOG
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''stdout.txt"
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = visitor.get(f"/v1/jobs/{world.done}/tasks/0/files/stdout.txt?offset=5&limit=4")
    assert (part.content, part.headers["Millpond-File-Size"]) == (LOG[5:9], str(len(LOG)))


@pytest.mark.skipif(browser_program() is None, reason="no Chromium on the PATH")
def test_a_browser_sees_it_live(world: PageWorld, server: str, link: str, tmp_path: Path) -> None:
    """A log is followed while it grows, the page moves on by itself, nothing hostile runs, and it fits a phone."""
    program = browser_program()
    assert program is not None
    world.grow(b"first line\n")
    with browser(program, tmp_path / "profile") as tab:
        tab.open(link)
        tab.until("document.querySelector('#jobs') !== null")
        assert tab.value("document.cookie") == ""
        tab.open(f"{server}/ui/jobs/{world.running}/tasks/0")
        log = "document.querySelector('[data-log$=\"stdout.txt\"]').textContent"
        tab.until(f"{log} === 'first line\\n'")
        world.grow(b"first line\nsecond <b>line</b>\n")
        tab.until(f"{log} === 'first line\\nsecond <b>line</b>\\n'")
        tab.open(f"{server}/ui/jobs/{world.running}")
        tab.until("document.getElementById('state').textContent === 'live'")
        world.service.cancel_job(world.running)
        tab.until("document.querySelector('#head').textContent.includes('terminating')")
        for address in _addresses(world):
            for dark in (False, True):
                tab.size(360, 740, dark=dark)
                tab.open(f"{server}{address}")
                assert tab.value("document.title") != "owned"
                assert tab.value("document.documentElement.scrollWidth <= innerWidth"), address
        assert tab.complaints == []
