// Advice that was taken: a note is left, nothing is set.

import "./rest.js";
import { word } from "./figures.js";
import { send } from "./send.js";

for (const form of document.querySelectorAll("[data-accept]")) {
  const button = form.querySelector("button");
  const said = form.querySelector(".said");
  const take = async () => {
    button.disabled = true;
    try {
      await send("POST", `/api/material/advice/accept${form.dataset.query}`, { advice: form.dataset.accept, text: form.elements.text.value });
      said.textContent = word("material.noted");
    } catch (error) {
      said.textContent = error.message;
      button.disabled = false;
    }
  };
  button.addEventListener("click", take);
  form.addEventListener("submit", (event) => { event.preventDefault(); if (!button.disabled) take(); });
}
