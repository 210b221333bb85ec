// All tags of an area or of a search, moving; a filter by name, and one for what is not in order.

import { collect, watch } from "./live.js";

const { area } = document.querySelector(".head").dataset;
watch(collect(), area === "unassigned" ? undefined : area);

const filter = document.getElementById("filter");
const only = document.getElementById("only");

function sift() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const item of document.querySelectorAll("li > [data-tag]")) {
    const about = `${item.dataset.tag} ${item.textContent}`.toLowerCase();
    const fits = words.every((word) => about.includes(word)) && !(only.checked && item.dataset.standing === "ok");
    item.parentElement.hidden = !fits;
    left += fits;
  }
  for (const group of document.querySelectorAll(".unit-card, .line")) group.hidden = !group.querySelector("li:not([hidden])");
  document.getElementById("nothing").hidden = left > 0;
}

if (filter) {
  filter.addEventListener("input", sift);
  only.addEventListener("change", sift);
  setInterval(() => only.checked && sift(), 2000);
}
