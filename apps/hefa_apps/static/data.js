// Decisions about refused data: a reason, one of two buttons, and what became of it.

import { send } from "./send.js";

for (const form of document.querySelectorAll("form.decide")) {
  const said = form.querySelector(".said");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const decision = event.submitter?.value || "retry";
    const buttons = form.querySelectorAll("button, input");
    const reason = form.elements.reason.value;
    for (const one of buttons) one.disabled = true;
    said.classList.remove("failed");
    try {
      await send("POST", `/api/data/quarantine/${form.dataset.id}/${decision}`, { reason });
      said.textContent = said.dataset[decision];
      form.closest("details").classList.add("decided");
    } catch (error) {
      said.classList.add("failed");
      said.textContent = error.message;
      for (const one of buttons) one.disabled = false;
    }
  });
}
