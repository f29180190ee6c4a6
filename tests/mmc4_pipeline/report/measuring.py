"""Measures a report page in a browser, and checks what must be true on every screen."""

from pathlib import Path

from tests.chromium import Look

SIZES = [(1280, 800), (390, 844)]  # a laptop's and a phone's screen, CSS pixels
SMALLEST_TEXT = 12  # CSS pixels

MEASURE = """(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const drawn = element => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0; };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (walker.currentNode.data.trim() && drawn(walker.currentNode.parentElement)) {
      texts.push(walker.currentNode.parentElement);
    }
  }
  const svg = element => {
    const box = element.getBoundingClientRect();
    return {width: box.width, height: box.height, label: element.getAttribute("aria-label"),
            title: element.querySelector(":scope > title")?.textContent};
  };
  return {
    width: document.documentElement.clientWidth,
    scrolled: document.documentElement.scrollWidth,
    smallest: Math.min(...texts.map(element => parseFloat(getComputedStyle(element).fontSize))),
    beyond: texts.filter(element => {
      const box = element.getBoundingClientRect();
      return box.left < 0 || box.right > document.documentElement.clientWidth + 0.5;
    }).map(element => element.textContent.slice(0, 60)),
    scripts: document.scripts.length,
    histograms: all(".histogram").map(figure => ({
      title: figure.querySelector("figcaption b").textContent,
      summary: figure.querySelector("figcaption span").textContent,
      marks: all("rect", figure).filter(drawn).length,
      thresholds: all("span.threshold", figure).map(element => element.textContent),
      axes: all(".things, .values", figure).filter(drawn).length,
      top: all("span.level", figure).at(-1)?.textContent,
    })),
    svgs: all("svg").map(svg),
    funnel: all(".funnel i").filter(drawn).length,
    // Other tables have one number per row.
    rates: all("tbody tr").map(row => all("td", row).map(cell => cell.textContent)).filter(row => row.length === 2),
    sites: all(".sites i").filter(drawn).length,
    pictures: all(".pictures img").length,
    photos: all(".pair img").length,
    orders: all(".orders img").filter(drawn).length,
    broken: [...document.images].filter(image => !image.complete || !image.naturalWidth || !drawn(image)).length,
    heat_maps: all(".heat").map(map => ({
      cells: all("path", map).filter(drawn).length, marks: all("rect", map).filter(drawn).length})),
  };
})()"""


def assert_reads_well(seen: Look, size: tuple[int, int], page: Path) -> None:
    """Assert what must be true of every report page at every width."""
    drawn = seen.result
    assert seen.console == []
    assert [url for url in seen.requests if not url.startswith("data:image/jpeg;base64,")] == [page.as_uri()]
    assert drawn["scrolled"] == drawn["width"] <= size[0]  # less by a scroll bar on a laptop
    assert drawn["beyond"] == []
    assert drawn["smallest"] >= SMALLEST_TEXT
    assert drawn["funnel"] > 0
    assert drawn["broken"] == 0
    for figure in drawn["histograms"]:
        assert figure["axes"] == (2 if figure["marks"] else 0), figure
    for svg in drawn["svgs"]:
        assert svg["width"] > 15, svg
        assert svg["height"] > 15, svg
        assert svg["label"], svg
        assert svg["title"], svg
    for heat_map in drawn["heat_maps"]:
        assert heat_map["cells"] > 0, heat_map
        assert heat_map["marks"] > 0, heat_map
