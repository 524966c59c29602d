"""What the site has that no file does: notebooks as pages, and the reference from docstrings."""

from __future__ import annotations

import fnmatch
import html as entities
import inspect
import pathlib
import re
import sys

import griffe
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import make_api

# What the sections of the navigation have below their first page.
BELOW = {
    "Tutorials": "notebooks/*.md",
    "Results": "docs/results/*.md",
    "Benchmarks": "benchmarks/results/*.md",
    "Reference": "docs/reference/*.md",
}
ROOT = pathlib.Path(__file__).parent.parent
AREAS = {
    area: {make_api.path_of(area, name): value for name, value in names.items()}
    for area, names in make_api.areas().items()
}
CODE = re.compile(r"<(a|b|pre|h\d)\b.*?</\1>|<code>([\w.]+)</code>", re.DOTALL)
ENTRY = '<div class="doc doc-object'
ARGUMENT = re.compile(r"<b><code>(\w+)</code></b>")
MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def has_docstring(value: object) -> bool:
    """Whether there is a docstring of its own: a value has none."""
    return inspect.isroutine(value) or inspect.isclass(value)


class Ours(griffe.Extension):
    """What griffe, which imports nothing, cannot know of the package."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """`rnnjax.lstm` is a function, though a file is called so; "Example" is a section.

        And what stands before a colon in "Returns" is no type.
        """
        found = [
            (path.split(".")[1:], pkg[[*value.__module__.split(".")[1:], value.__qualname__]])
            for values in AREAS.values()
            for path, value in values.items()
            if has_docstring(value)
        ]
        for (*modules, name), target in found:
            text = target.docstring
            text.value = re.sub(r"^Example:$", "Examples:", text.value, flags=re.M)
            text.value = re.sub(r"^Returns:\n +", r"\g<0>: ", text.value, flags=re.M)
            home = pkg[modules] if modules else pkg
            if target.parent is not home:
                home.members[name] = griffe.Alias(name, target, parent=home)


def names() -> dict[str, str]:
    """Where a name leads: by its path, and alone where only one thing is called so."""
    others = {*make_api.rnnjax.tasks.TASKS, *make_api.rnnjax.Cell.__dataclass_fields__}
    paths = [path for values in AREAS.values() for path in values]
    last = [path.rpartition(".")[2] for path in paths]
    found = {path: path for path in paths}
    alone = [n for n in last if last.count(n) == 1 and n not in others]
    return found | {n: paths[last.index(n)] for n in alone}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    pages: dict[str, str | bytes] = {}
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        text, resources = MarkdownExporter().from_filename(str(path))
        pages[f"notebooks/{path.stem}.md"] = text.replace("output_", f"{path.stem}_")
        for name, picture in resources["outputs"].items():
            pages[f"notebooks/{name.replace('output_', f'{path.stem}_')}"] = picture
    for area, paths in AREAS.items():
        entries = "\n\n".join(
            f"::: {path}"
            + ("" if has_docstring(v) else "\n\n" + make_api.summary(path.rpartition(".")[2], v))
            for path, v in paths.items()
        )
        module = sys.modules[area].__doc__ if area in sys.modules else ""
        about = re.sub(r"^Floor \d: ", "", module or "")
        page = f"docs/reference/{area.replace(' ', '_').lower()}.md"
        pages[page] = f"# {area}\n\n{about[:1].upper()}{about[1:]}\n\n{entries}\n"
    for place, content in pages.items():
        files.append(File.generated(config, place, content=content))
    listed = [*pages, *(file.src_uri for file in files.documentation_pages())]
    for section in config.nav or ():
        for title, places in section.items():
            if title in BELOW:
                more = fnmatch.filter(dict.fromkeys(listed), BELOW[title])
                first = places[0]
                section[title] = [first, *(page for page in more if page != first)]
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Where a notebook is meant, its page; and no column for what a page has none of."""
    columns = {"navigation": page.parent, "toc": "\n## " in markdown or ":::" in markdown}
    page.meta["hide"] = [column for column, has in columns.items() if not has]
    return markdown.replace(".ipynb)", ".md)")


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Names of code become links, and LaTeX becomes MathML, which needs no script."""
    known = names()
    for item in (link for top in page.toc for link in (top, *top.children)):
        item.title = re.sub(r"\\[()]", "", item.title)

    def linked(match: re.Match[str]) -> str:
        path = known.get(match[2] or "") if match[2] not in arguments else None
        return f'<autoref identifier="{path}">{match[0]}</autoref>' if path else match[0]

    def drawn(match: re.Match[str]) -> str:
        how = "block" if match[1] == "div" else "inline"
        return convert(entities.unescape(match[2]), display=how)

    parts = []
    for part in html.split(ENTRY):  # in each an argument of its own is no other thing of that name
        arguments = ARGUMENT.findall(part)
        parts.append(CODE.sub(linked, part))
    return MATH.sub(drawn, ENTRY.join(parts))
