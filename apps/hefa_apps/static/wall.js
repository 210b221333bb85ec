// The live wall: values by stream, sparklines of the last hour, counts each ten seconds, reckoned parts each fifteen.

import { age, number, word } from "./figures.js";
import { collect, onReading, watch } from "./live.js";
import { send } from "./send.js";
import { Spark } from "./spark.js";

const tags = [...new Set([...collect(), ...[...document.querySelectorAll("[data-ph]")].map((bar) => bar.dataset.ph)])];
const sparks = new Map();
for (const svg of document.querySelectorAll("[data-spark]")) {
  const { tag, kind } = svg.closest("[data-tag]").dataset;
  if (kind !== "counter") sparks.set(tag, new Spark(svg));
}

async function history() {
  const names = [...sparks.keys()];
  for (let i = 0; i < names.length; i += 150) {
    const query = names.slice(i, i + 150).map((tag) => `tag=${encodeURIComponent(tag)}`).join("&");
    const answer = await fetch(`/api/live/series?span=1h&step=1m&${query}`);
    if (!answer.ok) return;
    for (const series of (await answer.json()).series) sparks.get(series.tag)?.fill(series.ts, series.value);
  }
}

function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}

function set(row, cell, text) {
  return tell(row.querySelector(`[data-cell="${cell}"]`), text);
}

function count(place, summary) {
  const sum = (name) => place.querySelector(`[data-sum="${name}"]`);
  tell(sum("alarming"), word("alarming", { n: summary.alarming })).hidden = !summary.alarming;
  tell(sum("fresh"), word("fresh", { fresh: number(summary.fresh, 0), tags: number(summary.tags, 0) }));
  const states = sum("states");
  if (states) tell(states, summary.states.slice(0, 3).map(([state, n]) => `${n} ${state}`).join(" · "));
}

async function counts() {
  if (document.visibilityState !== "visible") return;
  const answer = await fetch("/api/live/overview");
  if (!answer.ok) return;
  const { site, areas, lines, edges, freshness } = await answer.json();
  for (const block of document.querySelectorAll("[data-line]")) {
    const flag = block.querySelector("[data-flag]");
    const n = lines[block.dataset.line]?.alarming ?? 0;
    flag.setAttribute("visibility", n ? "visible" : "hidden");
    tell(flag.querySelector("text"), String(n));
  }
  count(document.querySelector(".site-sum"), site);
  for (const { area, summary } of areas) {
    const card = document.querySelector(`article[data-area="${CSS.escape(area)}"]`);
    if (card) count(card, summary);
  }
  const told = (state) => edges.filter(({ online }) => online === state).length;
  tell(document.querySelector('[data-sum="online"]'), word("online", { n: told(true) }));
  tell(document.querySelector('[data-sum="offline"]'), word("offline", { n: told(false) })).hidden = !told(false);
  for (const edge of edges) {
    const row = document.querySelector(`tr[data-edge="${CSS.escape(edge.edge)}"]`);
    if (!row) return location.reload(); // a gateway that was not there: it brings tags of its own
    const state = edge.online === null ? "unknown" : edge.online ? "on" : "off";
    const dot = set(row, "online", word(`edge_${state}`));
    dot.className = `dot ${state}`;
    set(row, "seen", edge.age_s === null ? word("age_never") : age(edge.age_s));
    for (const name of ["tags", "received", "stored", "duplicate", "quarantined"]) set(row, name, number(edge[name], 0));
  }
  for (const [name, value] of Object.entries(freshness)) {
    const element = document.querySelector(`[data-freshness="${name}"]`);
    if (element) tell(element, value === null ? "–" : `${number(value, 0)}\u202fms`);
  }
}

// The bars of the cascades and the liquid of the tanks follow their readings.
const bars = new Map();
function follow() {
  bars.clear();
  for (const bar of document.querySelectorAll("[data-ph]")) bars.set(bar.dataset.ph, bar);
}

function move(tag, value, state) {
  const bar = bars.get(tag);
  if (bar && value !== null) {
    const { floor, scale } = bar.closest("[data-profile]").dataset;
    const high = Math.max(0, Math.min(value, 3.6)) * scale;
    const fill = bar.querySelector(".fill");
    fill.setAttribute("y", (floor - high).toFixed(1));
    fill.setAttribute("height", high.toFixed(1));
  }
  if (bar && state) bar.dataset.standing = state;
  const liquid = document.querySelector(`.tanks [data-tag="${CSS.escape(tag)}"] [data-liquid]`);
  if (liquid && value !== null) {
    const high = Math.max(0, Math.min(value, 100)) * 0.34;
    liquid.setAttribute("y", (37 - high).toFixed(1));
    liquid.setAttribute("height", high.toFixed(1));
  }
}

// Alarms, tanks and profiles are reckoned by the portal: fetched as a whole and swapped, when nobody is at work there.
async function swap(force) {
  const parts = document.getElementById("parts");
  const busy = [parts, document.getElementById("outages")].some((part) => part.contains(document.activeElement));
  if (document.visibilityState !== "visible" || (!force && busy)) return;
  const answer = await fetch(`/live/parts?reference=${parts.dataset.reference}`).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["cascades", "tanks", "alarms", "outages"]) {
    const old = document.getElementById(id);
    const next = fresh.getElementById(id);
    const open = [...old.querySelectorAll("details")].map((details) => details.open);
    next.querySelectorAll("details").forEach((details, n) => (details.open = open[n] ?? false));
    old.replaceWith(next);
  }
  collect();
  follow();
}

document.getElementById("parts").addEventListener("click", async (event) => {
  const button = event.target.closest("[data-ack], [data-reset], [data-shelve]");
  if (!button) return;
  const { ack, reset, shelve } = button.dataset;
  try {
    if (ack) await send("POST", `/api/live/alarms/${encodeURIComponent(ack)}/ack`, {});
    else if (reset) await send("POST", `/api/live/alarms/${encodeURIComponent(reset)}/reset`, {});
    else {
      const minutes = Number(prompt(word("live.shelve_minutes"), "60"));
      const reason = minutes ? prompt(word("live.shelve_reason")) : null;
      if (!reason) return;
      await send("POST", `/api/live/alarms/${encodeURIComponent(shelve)}/shelve`, { minutes, reason });
    }
    await swap(true);
  } catch (error) {
    refuse(error);
  }
});

function refuse(error) {
  const line = document.getElementById("link");
  line.textContent = word("live.refused", { why: error.message });
  line.hidden = false;
  setTimeout(() => (line.hidden = true), 6000);
}

// What is out of service: the form stands outside what is swapped, so that nothing half written is lost.
const outage = document.getElementById("outage-form");
const said = outage.querySelector(".said");
async function takeOut() {
  if (!outage.reportValidity()) return;
  const { of, hours, reason } = Object.fromEntries(new FormData(outage));
  said.classList.remove("wrong");
  try {
    const taken = await send("POST", "/api/live/outages", { of, minutes: Number(hours) * 60, reason });
    outage.reset();
    said.textContent = word("live.taken_out", { of: taken.of });
    await swap(true);
  } catch (error) {
    said.textContent = word("live.refused", { why: error.message });
    said.classList.add("wrong");
  }
}
document.getElementById("take-out").addEventListener("click", takeOut);
outage.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("input") || document.getElementById("take-out").disabled) return;
  event.preventDefault();
  takeOut();
});
document.getElementById("out-of-service").addEventListener("click", async (event) => {
  const button = event.target.closest("[data-back]");
  if (!button) return;
  try {
    await send("POST", `/api/live/outages/${encodeURIComponent(button.dataset.back)}/end`, {});
    await swap(true);
  } catch (error) {
    refuse(error);
  }
});

follow();
onReading(({ tag, ts, value, quality }) => {
  const known = quality < 64 ? null : value;
  sparks.get(tag)?.push(ts, known);
  move(tag, known, document.querySelector(`[data-tag="${CSS.escape(tag)}"]`)?.dataset.standing);
});
watch(tags);
history();
setInterval(history, 300_000);
setInterval(counts, 10_000);
setInterval(swap, 15_000);
setInterval(() => sparks.forEach((spark) => spark.draw()), 5000);
