"""The site is built without a warning, its links lead somewhere, and its search finds."""

import html.parser
import json
import os
import pathlib
import subprocess
import sys
import urllib.parse

import pytest
from scripts import ROOT, script


class Page(html.parser.HTMLParser):
    """What a page refers to, what can be referred to on it, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places, self.loads = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.places.add(values.get("id"))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in ("script", "img", "link") and values.get("rel") != "canonical":
            self.loads.append(values.get("src") or values.get("href"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        # Not --quiet: warnings that are not shown are none to --strict.
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert not build.returncode, build.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(pages):
    for path, page in pages.items():
        for reference in [*page.links, *filter(None, page.loads)]:
            url = urllib.parse.urlsplit(reference)
            if url.scheme:
                assert reference not in page.loads, f"{path} loads {reference}"
                continue
            target = path.parent / urllib.parse.unquote(url.path) if url.path else path
            target = pathlib.Path(os.path.normpath(target))
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path} refers to {reference}"
            if url.fragment and target in pages:
                place = urllib.parse.unquote(url.fragment)
                assert place in pages[target].places, f"{path} refers to {reference}"


def test_every_public_name_is_on_a_page(pages):
    make_api = script("docs/make_api.py")
    places = set().union(
        *(page.places for path, page in pages.items() if "reference" in path.parts)
    )
    for area, names in make_api.areas().items():
        for name in names:
            assert make_api.path_of(area, name) in places


@pytest.mark.parametrize("word", ["padding", "truncated", "beam", "vanish"])
def test_search_finds(site, word):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any(word in entry["title"].lower() + entry["text"].lower() for entry in index["docs"])
