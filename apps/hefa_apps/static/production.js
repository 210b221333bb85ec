// The production app: its charts, and the notes of the handover log.

import "./rest.js";
import { bucket, chart } from "./chart.js";
import { number, word } from "./figures.js";
import { instant, send } from "./send.js";

chart("production-output", (data, look) => {
  // Many hours are read by their days: the axis tells where each begins.
  const days = data.step === "1h" && data.rows.length > 72 ? { interval: (_, label) => label.includes("\n"), formatter: (label) => label.split("\n")[0] } : {};
  const axis = look.x(data.rows.map((row) => bucket(row.start, data.step)));
  const tint = (name, i) => (data.colours[name] ? look.colour(data.colours[name]) : look.hue(i + 1));
  return {
    ...look.base(),
    xAxis: { ...axis, axisLabel: { ...axis.axisLabel, ...days } },
    yAxis: look.y("kg"),
    tooltip: { ...look.base().tooltip, formatter: (points) => look.tip(points[0].name, points.filter((p) => p.value !== null && p.value !== undefined).map((p) => [p.seriesName, `${number(p.value, 1)} kg`, p.color])) },
    series: [
      ...data.products.map((name, i) => ({ name, type: "bar", stack: "made", barCategoryGap: "12%", color: tint(name, i), emphasis: { disabled: true }, data: data.rows.map((row) => row[name]) })),
      { name: word("production.plan"), type: "line", step: "middle", symbol: "none", color: look.colour("ink-2"), lineStyle: { type: "dashed", width: 1.5 }, data: data.rows.map((row) => row.plan) },
    ],
  };
});

chart("production-pareto", (bars, look) => ({
  ...look.base(),
  legend: { show: false },
  xAxis: look.x(bars.map((bar) => `${bar.cause} ${bar.kind}`)),
  yAxis: [look.y("h"), look.y("%", { min: 0, max: 100, splitLine: { show: false } })],
  tooltip: { ...look.base().tooltip, formatter: (points) => look.tip(points[0].name, [[word("production.hours"), `${number(points[0].value, 2)} h`, points[0].color], [word("production.cumulative"), `${number(points[1].value, 0)} %`, points[1].color]]) },
  series: [
    { type: "bar", barMaxWidth: 48, color: look.colour("warn"), emphasis: { disabled: true }, data: bars.map((bar) => bar.hours) },
    { type: "line", yAxisIndex: 1, symbolSize: 5, color: look.colour("ink-2"), data: bars.map((bar) => 100 * bar.cumulative) },
  ],
}));

const { zone } = JSON.parse(document.getElementById("shell-data").textContent);

async function put(url, body, say) {
  try {
    await send("POST", url, body);
    location.hash = "";
    location.reload();
  } catch (error) {
    say(error.message);
  }
}

const form = document.getElementById("note-form");
if (form) {
  const said = form.querySelector(".said");
  const say = (text) => {
    said.textContent = text;
    said.classList.add("wrong");
  };
  const save = () => {
    if (!form.reportValidity()) return;
    const fields = Object.fromEntries(new FormData(form));
    put("/api/production/log", { text: fields.text, subject: fields.subject, kind: fields.kind, from: instant(fields.from, zone), to: instant(fields.to, zone) }, say);
  };
  document.getElementById("note-save").addEventListener("click", save);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  for (const button of document.querySelectorAll("[data-edit]")) {
    button.addEventListener("click", () => {
      const item = button.closest("[data-note]");
      const old = item.querySelector(".said-text");
      const box = Object.assign(document.createElement("textarea"), { value: old.textContent, rows: 3, maxLength: 4000 });
      box.setAttribute("aria-label", word("production.edit_text"));
      old.replaceChildren(box);
      box.focus();
      button.addEventListener("click", () => put(`/api/production/log/${encodeURIComponent(button.dataset.edit)}`, { text: box.value }, say), { once: true });
    }, { once: true });
  }
}
