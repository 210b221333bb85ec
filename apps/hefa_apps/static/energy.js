// The charts of an energy page, and its parts: fetched beside each other once the page stands.

import "./rest.js";
import { chart, narrow, stamp } from "./chart.js";
import { capital, number, time, unit, word } from "./figures.js";
import { send } from "./send.js";

const BAND = { sharp: "peak", peak: "peak", flat: "flat", valley: "valley", deep: "valley" };
const day = (ms) => time(ms, { weekday: "short", day: "numeric", month: "short" });
const moment = (ms) => time(ms, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

const draw = {
  "energy-demand": (data, look) => {
    const points = data.points.map((p) => [Date.parse(p.start), p.value]);
    const long = points.length > 300; // quarters of an hour: dates tell more than clocks
    const axis = look.t();
    const along = (Date.parse(data.peak_at) - points[0]?.[0]) / (points.at(-1)?.[0] - points[0]?.[0]); // its label stays inside
    if (long) axis.axisLabel = { ...axis.axisLabel, formatter: (ms) => time(ms, { day: "numeric", month: "short" }) };
    return {
      ...look.base(),
      xAxis: axis,
      yAxis: look.y("kW", { scale: true }),
      tooltip: { ...look.base().tooltip, formatter: ([p]) => look.tip(moment(p.value[0]), [[word("energy.demand"), `${number(p.value[1], 0)} kW`, look.of("electricity")]]) },
      series: [{
        name: word("energy.demand"), type: "line", step: "end", showSymbol: false, sampling: "max", data: points, color: look.of("electricity"),
        lineStyle: { width: 1.4 }, emphasis: { disabled: true },
        markPoint: { symbol: "circle", symbolSize: 9, silent: true, label: { show: true, position: along > 0.9 ? "left" : along < 0.15 ? "right" : "top", color: look.colour("ink-2"), fontSize: look.size, backgroundColor: look.colour("card", 0.85), padding: [1, 4], borderRadius: 3, formatter: `${word("energy.peak")} ${number(data.peak, 0)} kW` }, data: [{ coord: [Date.parse(data.peak_at), data.peak] }] },
        markLine: { symbol: "none", silent: true, label: { show: false }, lineStyle: { color: look.colour("ink-3"), type: "dashed" }, data: [{ yAxis: data.mean }] },
      }],
    };
  },

  "energy-cost": (data, look) => {
    const bands = [...new Set(data.bands.map((b) => b.band))];
    const tint = (band, i) => look.colour(BAND[band] ?? `hue-${(i % 8) + 1}`);
    return {
      ...look.base(),
      xAxis: look.x(data.slots.length ? data.slots.map((s) => stamp(Date.parse(s.start))) : data.days.map((d) => day(Date.parse(`${d.day}T12:00:00Z`)))),
      yAxis: look.y(data.currency),
      tooltip: { ...look.base().tooltip, formatter: (points) => look.tip(points[0].name, [...points.filter((p) => p.value !== null && p.value !== undefined).map((p) => [p.seriesName, `${number(p.value, 0)} ${data.currency}`, p.color]), [word("total"), `${number(points.reduce((all, p) => all + (p.value ?? 0), 0), 0)} ${data.currency}`, null, "sum"]]) },
      series: bands.map((band, i) => ({ name: band, type: "bar", stack: "cost", barMaxWidth: 56, color: tint(band, i), emphasis: { disabled: true }, data: data.slots.length ? data.slots.map((s) => (s.band === band ? s.cost : null)) : data.days.map((d) => d.bands[band] ?? null) })),
    };
  },

  "energy-sankey": (data, look) => {
    const areas = data.nodes.filter((n) => n.kind === "area");
    const tint = (n) => (n.kind === "carrier" ? look.of(n.id) : n.id === "unaccounted" || n.id === "loss" ? look.colour("ink-3", 0.6) : look.hue((areas.findIndex((a) => n.id.startsWith(a.id)) % 8) + 1));
    const label = (id) => (id === "unaccounted" ? word("unaccounted") : id === "loss" ? word("energy.loss") : capital(id));
    return {
      ...look.base(),
      tooltip: { ...look.base().tooltip, trigger: "item", formatter: (p) => look.tip(p.dataType === "edge" ? `${label(p.data.source)} → ${label(p.data.target)}` : label(p.name), [["", `${number(p.value, 0)} ${unit(data.unit)}`]]) },
      series: [{
        type: "sankey", data: data.nodes.map((n) => ({ name: n.id, itemStyle: { color: tint(n) } })), links: data.links,
        nodeAlign: "justify", nodeGap: 8, nodeWidth: 14, draggable: false, left: 4, right: narrow() ? 90 : 170, top: 6, bottom: 6, emphasis: { focus: "adjacency" },
        lineStyle: { color: "source", opacity: 0.28, curveness: 0.5 },
        labelLayout: { hideOverlap: true }, // of what is too small for its name the table and the pointer tell
        label: { color: look.colour("ink"), fontSize: look.size, fontFamily: "Inter, sans-serif", formatter: (p) => (narrow() ? label(p.name) : `${label(p.name)}  ${number(p.value, 0)}`) },
      }],
    };
  },

  "energy-cusum": (data, look) => {
    const first = data.past.findIndex((d) => d.value !== null); // days before the first known one are no gap
    data.past = first < 0 ? [] : data.past.slice(first);
    const all = [...data.past.map((d) => ({ ...d, cusum: null })), ...data.now];
    const at = all.map((d) => day(Date.parse(d.day)));
    const bars = all.map((d) => d.value);
    const label = unit(data.unit);
    const start = data.past.length;
    return {
      ...look.base(),
      xAxis: look.x(at),
      yAxis: [look.y(data.unit, { scale: true }), look.y(data.unit, { splitLine: { show: false }, name: narrow() ? "" : word("energy.cusum"), nameTextStyle: { align: "right", color: look.colour("ink-3"), fontSize: look.size } })],
      tooltip: { ...look.base().tooltip, formatter: (points) => look.tip(points[0].name, points.filter((p) => p.value !== null && p.value !== undefined).map((p) => [p.seriesName, `${number(p.value, 0)} ${label}`, p.color])) },
      series: [
        { name: word("energy.used"), type: "line", data: bars, color: look.of("electricity"), symbolSize: 5, lineStyle: { width: 1.5 }, markArea: start ? { silent: true, itemStyle: { color: look.colour("rule", 0.25) }, label: { color: look.colour("ink-3"), fontSize: look.size }, data: [[{ xAxis: 0, name: word("energy.baseline") }, { xAxis: start - 1 }]] } : undefined },
        { name: word("energy.expected"), type: "line", data: all.map((d) => d.expected), color: look.colour("ink-3"), symbol: "none", lineStyle: { type: "dashed", width: 1.5 } },
        { name: word("energy.cusum"), type: "line", yAxisIndex: 1, data: all.map((d) => d.cusum), color: look.colour("accent"), symbolSize: 4, lineStyle: { width: 2 }, areaStyle: { opacity: 0.08 } },
      ],
    };
  },

  "energy-forecast": (data, look) => {
    const ahead = data.hours.map((h) => Date.parse(h.start));
    return {
      ...look.base(),
      xAxis: look.t(),
      yAxis: look.y("kW.h", { scale: true }),
      tooltip: { ...look.base().tooltip, formatter: (points) => look.tip(moment(points[0].value[0]), points.filter((p) => p.seriesName).map((p) => [p.seriesName, `${number(p.value[1], 0)} kWh`, p.color])) },
      series: [
        { name: word("energy.past"), type: "line", showSymbol: false, color: look.of("electricity"), data: data.past.map((p) => [Date.parse(p.start), p.value]) },
        { name: word("energy.forecast"), type: "line", showSymbol: false, color: look.colour("accent"), lineStyle: { width: 2 }, data: data.hours.map((h, i) => [ahead[i], h.value]) },
        { type: "line", stack: "band", silent: true, symbol: "none", lineStyle: { opacity: 0 }, data: data.hours.map((h, i) => [ahead[i], h.low]) },
        { name: word("energy.band"), type: "line", stack: "band", silent: true, symbol: "none", color: look.colour("accent"), lineStyle: { opacity: 0 }, areaStyle: { opacity: 0.14 }, data: data.hours.map((h, i) => [ahead[i], h.high - h.low]) },
      ],
    };
  },

  "energy-shift": (data, look) => ({
    ...look.base(),
    xAxis: look.x(data.hours.map((h) => stamp(Date.parse(h.start)))),
    yAxis: [look.y("t/h"), look.y("m3", { splitLine: { show: false } })],
    tooltip: { ...look.base().tooltip, formatter: (points) => look.tip(points[0].name, [[word("energy.price"), `${number(data.hours[points[0].dataIndex].price, 3)} ${data.currency}/kWh`], ...points.filter((p) => p.value !== null).map((p) => [p.seriesName, `${number(p.value, 1)} ${p.seriesName === word("energy.tank") ? "m³" : "t/h"}`, p.color])]) },
    series: [
      { name: word("energy.advised"), type: "bar", barMaxWidth: 30, emphasis: { disabled: true }, color: look.colour("accent"), data: data.hours.map((h) => ({ value: h.best, itemStyle: { color: look.colour(h.price <= Math.min(...data.hours.map((x) => x.price)) ? "valley" : h.price >= Math.max(...data.hours.map((x) => x.price)) ? "peak" : "flat") } })) },
      { name: word("energy.evenly"), type: "line", step: "middle", symbol: "none", color: look.colour("ink-3"), lineStyle: { type: "dashed" }, data: data.hours.map((h) => h.usual) },
      { name: word("energy.tank"), type: "line", yAxisIndex: 1, symbol: "none", color: look.colour("ink"), data: data.hours.map((h) => h.tank) },
    ],
  }),
};

// Whoever may keeps the shown days as the baseline of the site, or none any more; the page then shows what is kept.
function keeping(part) {
  const about = part.querySelector("#keep-form");
  if (!about) return;
  const form = part.querySelector(".freeze");
  const { carrier, area, drivers } = about.dataset;
  const done = async (ask) => {
    try {
      await ask();
      const left = new URL(location.href);
      left.searchParams.delete("baseline_from");
      left.searchParams.delete("baseline_to");
      location.replace(left);
    } catch (error) {
      const said = form.querySelector(".said");
      said.textContent = error.message;
      said.classList.add("wrong");
    }
  };
  const { baseline_from: from, baseline_to: to } = form.elements;
  part.querySelector("#keep-baseline")?.addEventListener("click", () => {
    if (form.reportValidity()) done(() => send("POST", "/api/energy/baseline/kept", { carrier, area, from: from.value, to: to.value, driver: drivers ? drivers.split(",") : [], reason: about.elements.reason?.value ?? "" }));
  });
  part.querySelector("#forget-baseline")?.addEventListener("click", () => done(() => send("DELETE", `/api/energy/baseline/kept?${new URLSearchParams({ carrier, area, reason: about.elements.reason.value })}`)));
}

async function fill(part) {
  try {
    const answer = await fetch(part.dataset.part);
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    part.replaceChildren(...page.body.childNodes);
  } catch {
    part.replaceChildren(Object.assign(document.createElement("p"), { className: "loading", textContent: word("energy.failed") }));
  }
  part.setAttribute("aria-busy", "false");
  keeping(part);
  charts(part);
}

function charts(of) {
  for (const place of of.querySelectorAll("[data-chart]")) if (draw[place.id]) chart(place.id, draw[place.id]);
}

charts(document);
for (const part of document.querySelectorAll("[data-part]")) fill(part);
