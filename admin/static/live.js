// What htmx's attributes cannot say under a policy that forbids eval. The pages work without it.
(() => {
  "use strict";

  const isPoll = (event) => event.detail.elt.matches("[data-live]");

  // Leave a block alone while nobody sees it, text in it is selected, or its log is scrolled back.
  const isHeld = (block) => {
    if (document.hidden) return true;
    const selection = getSelection();
    if (selection && !selection.isCollapsed && block.contains(selection.anchorNode)) return true;
    const log = block.querySelector("[data-tail]");
    return log !== null && log.scrollTop < -8;
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (isPoll(event) && isHeld(event.detail.elt)) event.preventDefault();
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const block of document.querySelectorAll("[data-live]")) htmx.trigger(block, "look");
  });

  // From an error to its place in the editor.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-goto]");
    const area = link && document.getElementById("text");
    if (!area) return;
    event.preventDefault();
    const at = Number(link.dataset.goto);
    area.focus();
    area.setSelectionRange(at, at + 1);
    const line = area.value.slice(0, at).split("\n").length;
    area.scrollTop = Math.max(0, (line - 8) * parseFloat(getComputedStyle(area).lineHeight));
  });

  const setOffline = (offline) => {
    document.getElementById("offline").hidden = !offline;
    document.documentElement.classList.toggle("is-offline", offline);
  };
  document.addEventListener("htmx:sendError", () => setOffline(true));
  document.addEventListener("htmx:beforeOnLoad", () => setOffline(false));
})();
