// A page over a long period comes in two steps: its frame at once, and what it tells when that is reckoned. A module that
// works on what it tells imports this one first, and runs when it is there.

const place = document.querySelector("[data-rest]");
if (place) {
  try {
    const answer = await fetch(place.dataset.rest);
    if (answer.redirected) location.assign(answer.url); // the session is over
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const told = (page.getElementById("rest") ?? page.getElementById("main")).childNodes;
    place.replaceChildren(...page.querySelectorAll("#adding"), ...told);
  } catch {
    place.replaceChildren(Object.assign(document.createElement("p"), { className: "loading", textContent: place.dataset.failed }));
  }
  place.setAttribute("aria-busy", "false");
  const again = place.querySelector("[data-again]"); // the platform is not ready: look again, as shell.js does
  if (again) setInterval(() => document.visibilityState === "visible" && location.reload(), again.dataset.again * 1000);
}
