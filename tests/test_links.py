"""Links between documents lead somewhere: to a file, and a heading in it."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.M | re.S)


def read(page):
    return CODE.sub("", page.read_text("utf-8"))


def anchors(page):
    """Those that GitHub makes of headings."""
    titles = re.findall(r"^#+ (.*)$", read(page), re.M)
    words = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in words}


def is_dead(page, link):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return True
    return bool(anchor) and anchor not in anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    links = LINK.findall(read(page))
    local = [link for link in links if "://" not in link]
    assert not [link for link in local if is_dead(page, link)]
