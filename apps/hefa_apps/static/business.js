// The business app: the bars of money, and the prices of a what-if.

import "./rest.js";
import { chart, narrow } from "./chart.js";
import { capital, number } from "./figures.js";

chart("business-money", (data, look) => {
  const rows = data.lines.filter((row) => row.money !== null).map((row) => ({ ...row, signed: row.group === "product" ? row.money : -row.money })).reverse();
  return {
    ...look.base(),
    legend: { show: false },
    grid: { left: 8, right: 48, top: 28, bottom: 4, containLabel: true },
    xAxis: { ...look.y(data.currency, { splitNumber: narrow() ? 2 : 4 }), axisLabel: { ...look.y("").axisLabel, hideOverlap: true } },
    yAxis: look.x(rows.map((row) => capital(row.name))),
    tooltip: { ...look.base().tooltip, formatter: ([p]) => look.tip(p.name, [["", `${number(p.value, 0)} ${data.currency}`, p.color]]) },
    series: [{ type: "bar", barMaxWidth: 22, emphasis: { disabled: true }, data: rows.map((row) => ({ value: row.signed, itemStyle: { color: look.colour(row.signed < 0 ? "warn" : "ok") } })) }],
  };
});

for (const field of document.querySelectorAll("[data-price]")) {
  field.addEventListener("input", () => {
    field.nextElementSibling.value = field.value === "" ? "" : `${field.dataset.price}:${field.value}`;
  });
}
