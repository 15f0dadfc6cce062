"use strict";

// What the theme's pages lack for screen readers; make browser checks it.
document.addEventListener("DOMContentLoaded", () => {
  for (const icon of document.querySelectorAll("summary > .toctree-toggle")) {
    const page = icon.closest("li").querySelector("a").textContent.trim();
    icon.parentElement.setAttribute("aria-label", `Pages below ${page}`);
  }
  // Its children are entries of a bibliography, not of a list.
  for (const list of document.querySelectorAll(".citation-list[role=list]")) {
    list.removeAttribute("role");
  }
});
