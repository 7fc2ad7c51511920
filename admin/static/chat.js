// The Chat page: an answer that grows, Enter sends, a question before something is deleted. The
// page works without it.
(() => {
  "use strict";

  const answer = document.querySelector("[data-answer]");
  if (answer) {
    const events = new EventSource(answer.dataset.answer);
    const atEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
    events.addEventListener("answer", (event) => {
      const follow = atEnd();
      const open = [...answer.querySelectorAll("details")].map((each) => each.open);
      answer.innerHTML = event.data;
      answer.querySelectorAll("details").forEach((each, at) => {
        if (at < open.length) each.open = open[at];
      });
      if (follow) scrollTo(0, document.documentElement.scrollHeight);
    });
    events.addEventListener("end", () => {
      events.close();
      location.reload();
    });
  }

  for (const text of document.querySelectorAll("textarea[data-send]")) {
    text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      text.form.requestSubmit();
    });
  }

  for (const form of document.querySelectorAll("form[data-confirm]")) {
    form.addEventListener("submit", (event) => {
      if (!confirm(form.dataset.confirm)) event.preventDefault();
    });
  }
})();
