"""Links to the platform's own pages: the template is checked at the start, keys cannot lead elsewhere."""

import pytest

from core.errors import SettingsError
from core.links import configured, platform_link, web_link
from core.settings import settings

TEMPLATE = "https://platform.example/admin/{kind}/{id}"


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's address is known."""
    monkeypatch.setenv("RESOCODE_PLATFORM_URL", TEMPLATE)


def test_settings_are_worked_out_once_until_a_variable_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_PLATFORM_URL", TEMPLATE)
    assert settings() is settings()
    monkeypatch.setenv("RESOCODE_PLATFORM_URL", TEMPLATE.replace("admin", "office"))
    assert "office" in str(settings().platform_url)
    monkeypatch.setenv("RESOCODE_PLATFORM_URL", "nowhere")
    for _ in range(2):
        with pytest.raises(SettingsError):
            settings()


def test_without_a_template_nothing_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESOCODE_PLATFORM_URL", raising=False)
    assert not configured()
    assert platform_link("student", "mongodb", "s1") is None


@pytest.mark.usefixtures("template")
def test_a_row_of_the_platform_links_to_its_page() -> None:
    assert configured()
    assert platform_link("student", "mongodb", "65f0c2") == "https://platform.example/admin/student/65f0c2"


@pytest.mark.usefixtures("template")
@pytest.mark.parametrize(
    ("source", "key"), [("oulad", "1"), ("csv", "1"), ("mongodb", None), ("mongodb", ""), ("", "1")]
)
def test_other_rows_do_not(source: str, key: str | None) -> None:
    assert platform_link("student", source, key) is None


@pytest.mark.usefixtures("template")
@pytest.mark.parametrize(
    "key", ["a/../../b", "?x=1", "#x", "a b", "%2e%2e", "ä", "{id}", "{0}", "\r\nSet-Cookie: a", "..", "."]
)
def test_a_key_stays_one_piece_of_the_path(key: str) -> None:
    from urllib.parse import unquote, urlsplit

    link = platform_link("submission", "mongodb", key)
    if key in ("..", "."):
        assert link is None, "a browser would go up"
        return
    assert link is not None
    address = urlsplit(link)
    folder, last = address.path.rsplit("/", 1)
    assert (address.netloc, folder, unquote(last)) == ("platform.example", "/admin/submission", key)
    assert not address.query and not address.fragment


@pytest.mark.parametrize(
    "value",
    [
        "https://platform.example/{kind}/{id}",
        "https://platform.example:8443/x?kind={kind}&id={id}",
        "http://localhost:3000/{kind}/{id}",
        "http://127.0.0.1/{kind}s/{id}",
        "https://[2001:db8::1]/{kind}/{id}#top",
    ],
)
def test_templates_that_can_be_used(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_PLATFORM_URL", value)
    assert settings().platform_url == value
    assert str(platform_link("cohort", "seed", "k")).startswith(value.partition("{")[0])


@pytest.mark.parametrize(
    "value",
    [
        "http://platform.example/{kind}/{id}",
        "http://localhost.evil.example/{kind}/{id}",
        "javascript:alert('{kind}{id}')",
        "//platform.example/{kind}/{id}",
        "https:///{kind}/{id}",
        "https://{kind}.example/{id}",
        "https://platform.example@evil.example/{kind}/{id}",
        "https://platform.example/{kind}",
        "https://platform.example/{id}",
        "https://platform.example/{kind}/{id}/{name}",
        "https://platform.example/{kind}/{id.__class__}",
        "https://platform.example/{kind}/{id!r}",
        "https://platform.example/{kind}/{id:>9999999}",
        "https://platform.example/{kind}/{0}{id}",
        "https://platform.example/{kind}/{id",
        "https://platform.example:port/{kind}/{id}",
        "https://platform.example/{kind}/{id} ",
        'https://platform.example/"{kind}/{id}',
    ],
)
def test_templates_that_are_refused_at_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_PLATFORM_URL", value)
    with pytest.raises(SettingsError, match="RESOCODE_PLATFORM_URL"):
        settings()


@pytest.mark.parametrize(
    "address",
    ["https://example.org/a?b=c#d", "http://example.org:8080/", "https://[::1]/x", "https://münchen.example/ü"],
)
def test_an_address_that_leads_to_the_web_is_kept(address: str) -> None:
    assert web_link(address) == address


@pytest.mark.parametrize(
    "address",
    [None, "", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "file:///etc/passwd", "//example.org", "example.org",
     "https://", "https:///x", "https://trusted.example@evil.example/", "https://exa mple.org/", "https://example.org/\x00", "https://example.org/\n",
     "https://example.org:99999/", "https://[::1/", "\u202ehttps://example.org", "https://example.org/" + "x" * 2000],
)  # fmt: skip
def test_any_other_address_is_not_shown(address: str | None) -> None:
    assert web_link(address) is None
