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
