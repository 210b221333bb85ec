// The live wall: values by stream, sparklines of the last hour, counts of the areas each ten seconds.

import { age, number, word } from "./figures.js";
import { collect, onReading, watch } from "./live.js";
import { Spark } from "./spark.js";

const tags = collect();
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
  const { site, areas, edges, freshness } = await answer.json();
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

onReading(({ tag, ts, value, quality }) => sparks.get(tag)?.push(ts, quality < 64 ? null : value));
watch(tags);
history();
setInterval(history, 300_000);
setInterval(counts, 10_000);
setInterval(() => sparks.forEach((spark) => spark.draw()), 5000);
