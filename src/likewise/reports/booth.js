"use strict";
// Shows one pair after the other and sends each vote. It asks only the server that the page came from, and knows no names.
(() => {
  const one = (selector) => document.querySelector(selector);
  const sides = { a: one("#a"), b: one("#b") };
  const buttons = [...document.querySelectorAll(".answers button")];
  const keys = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", x: "both_bad", X: "both_bad" };
  let state = null; // what is on screen
  let last = null; // what was on screen before it
  let busy = true;
  const at = one(".booth").dataset.at; // where another page has this one

  const ask = async (path, body) => {
    const options = body && {
      method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", "X-Likewise": "1" },
    };
    const answer = await fetch(at + path, options);
    const told = answer.headers.get("content-type").startsWith("application/json") ? await answer.json() : { error: await answer.text() };
    if (!answer.ok) throw new Error(told.error);
    return told;
  };
  const wait = (yes) => {
    busy = yes;
    one("main").setAttribute("aria-busy", String(yes));
    for (const button of buttons) button.setAttribute("aria-disabled", String(yes));
  };
  const trouble = (error) => {
    const lost = error instanceof TypeError; // what fetch throws where nobody answers
    one("#trouble").textContent = lost ? "The server no longer answers. Start likewise vote again; every vote so far is kept." : error.message;
    one("#trouble").hidden = false;
  };

  const show = async (next) => {
    if (!next.showing) { location.assign(`${at}/results`); return; }
    const loaded = await Promise.all(Object.keys(sides).map(async (side) => {
      const image = new Image();
      image.src = `${at}/pictures/${next[side]}`;
      await image.decode().catch(() => { throw new Error("A picture of this pair cannot be shown. Its file is missing or damaged."); });
      return [side, image.src];
    }));
    for (const [side, source] of loaded) sides[side].src = source; // both at once
    sides.a.alt = `Picture A: ${next.prompt}`;
    sides.b.alt = `Picture B: ${next.prompt}`;
    one("#prompt").textContent = next.prompt;
    one("#bar").max = next.total;
    one("#bar").value = next.done;
    const place = next.again ? "The last pair again" : `Pair ${next.done + 1} of ${next.total}`;
    one("#count").textContent = place;
    one("#said").textContent = `${place}: ${next.prompt}`;
    one("#results").hidden = !next.results;
    one("#back").hidden = !last || next.again;
    one("#trouble").hidden = true;
    state = next;
  };
  const during = async (work) => {
    if (busy) return;
    wait(true);
    try { await work(); } catch (error) { trouble(error); }
    wait(false);
  };
  const vote = (choice) => during(async () => {
    if (!state) return;
    const before = state;
    const next = await ask("/api/votes", { showing: before.showing, choice });
    last = { ...before, again: true };
    await show(next);
  });
  const back = () => during(async () => {
    if (!last || state.again) return;
    await show({ ...last, done: state.done, total: state.total, results: state.results });
  });

  for (const button of buttons) button.addEventListener("click", () => vote(button.dataset.choice));
  one("#back").addEventListener("click", back);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (keys[event.key]) vote(keys[event.key]);
    else if (event.key === "Backspace") back();
    else return;
    event.preventDefault();
  });
  wait(false);
  during(async () => show(await ask("/api/next")));
})();
