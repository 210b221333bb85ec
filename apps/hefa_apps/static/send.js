// Writes of a page: JSON to this portal, with the proof that the page is ours.

const { csrf } = JSON.parse(document.getElementById("shell-data").textContent);

// Returns the decoded answer; throws an Error whose message is the portal's sentence about what to do.
export async function send(method, url, body) {
  const answer = await fetch(url, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  const said = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(said?.detail || said?.title || answer.statusText);
  return said;
}

// The instant at which clocks in a zone show this local time, as a form has it; undefined for an empty field.
export function instant(local, zone) {
  if (!local) return undefined;
  const asUtc = Date.parse(`${local}Z`);
  const shown = (ms) => {
    const parts = Object.fromEntries(new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" }).formatToParts(ms).map((p) => [p.type, p.value]));
    return Date.parse(`${parts.year}-${parts.month}-${parts.day}T${parts.hour}:${parts.minute}Z`);
  };
  let ms = asUtc - (shown(asUtc) - asUtc);
  ms += asUtc - shown(ms);
  return new Date(ms).toISOString();
}
