"use strict";

// What the theme's pages lack, for screen readers and in search results.
document.addEventListener("DOMContentLoaded", () => {
  for (const icon of document.querySelectorAll("summary > .toctree-toggle")) {
    const page = icon.closest("li").querySelector("a").textContent.trim();
    icon.parentElement.setAttribute("aria-label", `Pages below ${page}`);
  }
  // The text below a search result begins with the page's, not with the way to it.
  if (typeof Search !== "undefined") {
    const textOf = Search.htmlToText;
    Search.htmlToText = (html, anchor) => {
      const page = new DOMParser().parseFromString(html, "text/html");
      page.querySelectorAll(".bd-header-article").forEach((it) => it.remove());
      return textOf(page.documentElement.outerHTML, anchor);
    };
  }
  // Its children are entries of a bibliography, not of a list.
  for (const list of document.querySelectorAll(".citation-list[role=list]")) {
    list.removeAttribute("role");
  }
});
