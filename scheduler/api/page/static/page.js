// Looks at the JSON API whether something changed; if so, takes the parts of this page anew from the server, which is
// the one place that writes HTML. Logs are followed byte by byte. Without this script the page is whole, but still.
"use strict";

const PAUSE = 1000, SLOW = 5000, STALE = 15000, TAIL = 256 * 1024, MOST = 2 * 1024 * 1024;
const state = document.getElementById("state");
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

function say(text) {
  if (state.textContent !== text) state.textContent = text;
}

async function ask(address) {
  const answer = await fetch(address, { credentials: "same-origin", cache: "no-store" });
  if (answer.status === 401) throw new Error("signed out: run `millpond ui` again");
  if (!answer.ok) throw new Error(`the scheduler answered ${answer.status}`);
  return answer;
}

function put(parts) {
  for (const old of document.querySelectorAll("[data-part]")) {
    const fresh = parts.getElementById(old.id);
    if (!fresh || fresh.outerHTML === old.outerHTML) continue;
    // Whoever reads with the keyboard or has marked text keeps the place.
    const chosen = document.getSelection();
    if (chosen && !chosen.isCollapsed && old.contains(chosen.anchorNode)) continue;
    const links = (part) => [...part.querySelectorAll("a, [tabindex]")];
    const place = links(old).indexOf(document.activeElement);
    const scrolled = [...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    old.replaceWith(fresh);
    fresh.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = scrolled[index] || 0; });
    if (place >= 0 && links(fresh)[place]) links(fresh)[place].focus({ preventScroll: true });
  }
}

async function watch(addresses) {
  let seen = null, taken = Date.now(), pause = PAUSE;
  for (;;) {
    await wait(document.hidden ? SLOW : pause);
    if (document.hidden) continue;
    try {
      const now = (await Promise.all(addresses.map(async (each) => (await ask(each)).text()))).join("\n");
      if ((seen !== null && now !== seen) || Date.now() - taken > STALE) {
        put(new DOMParser().parseFromString(await (await ask(location.href)).text(), "text/html"));
        taken = Date.now();
      }
      seen = now;
      pause = PAUSE;
      say("live");
    } catch (error) {
      pause = SLOW;
      say(`not live: ${error.message}`);
    }
  }
}

async function follow(place) {
  const address = place.dataset.log;
  const told = place.parentElement.querySelector("[data-log-state]");
  let offset = 0, attempt = null, decoder = new TextDecoder(), begun = false;
  for (;;) {
    let pause = PAUSE;
    try {
      const answer = await ask(`${address}?offset=${offset}&limit=${begun ? TAIL : 1}`);
      const size = Number(answer.headers.get("Millpond-File-Size"));
      const complete = answer.headers.get("Millpond-Complete") === "true";
      const tried = answer.headers.get("Millpond-Attempt");
      if (!begun || tried !== attempt || size < offset) {
        if (attempt !== null) place.textContent = "";
        begun = true;
        attempt = tried;
        offset = Math.max(0, size - TAIL);
        decoder = new TextDecoder();
        if (size > 0) continue;
      } else {
        const bytes = new Uint8Array(await answer.arrayBuffer());
        offset += bytes.length;
        const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
        place.append(decoder.decode(bytes, { stream: true }));
        if (place.textContent.length > MOST) place.textContent = place.textContent.slice(-TAIL);
        if (atEnd) place.scrollTop = place.scrollHeight;
      }
      told.textContent = size === 0 ? (complete ? "Nothing was written." : "Nothing yet.")
        : `${offset.toLocaleString("en")} of ${size.toLocaleString("en")} bytes${complete ? "" : ", following"}.`;
      if (complete && offset >= size) return;
      if (offset < size) pause = 0;
    } catch (error) {
      told.textContent = `Not followed now: ${error.message}.`;
      pause = SLOW;
    }
    await wait(document.hidden ? SLOW : pause);
  }
}

const watched = document.body.dataset.watch;
if (watched) watch(watched.split(" "));
document.querySelectorAll("[data-log]").forEach(follow);
