"use strict";
// Shows repeated pictures, changes the pictures at a glance, and opens any picture large. Nothing here asks for anything outside.
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const wrap = (value, length) => ((value % length) + length) % length;

  for (const image of all("img[data-same]")) image.src = one("#" + image.dataset.same).src;
  addEventListener("beforeprint", () => all("details").forEach((part) => { part.open = true; }));

  const grid = one("#grid");
  const columns = all("thead th[data-trial]", grid);
  const prompts = all("th[data-prompt]", grid);
  const seeds = Number(grid.dataset.seeds);
  const thumbs = new Map(all(".thumb", grid).map((thumb) => [thumb.dataset.at, thumb]));
  if (!columns.length || !prompts.length || !seeds) return;

  // The pictures at a glance: any prompt and seed.
  const pickPrompt = one("#pick-prompt");
  const pickSeed = one("#pick-seed");
  const glance = () => {
    for (const figure of all("[data-hero]")) {
      const at = `${figure.dataset.hero}.${pickPrompt.value}.${pickSeed.value}`;
      const thumb = thumbs.get(at);
      const shown = one(".thumb", figure);
      if (!shown) continue;
      shown.disabled = !thumb;
      shown.dataset.at = at;
      const image = one("img", shown);
      image.alt = thumb ? one("img", thumb).alt : "not drawn";
      image.hidden = !thumb;
      if (thumb) image.src = one("img", thumb).src;
    }
  };
  one(".pick").hidden = false;
  one("#shown").hidden = true;
  pickPrompt.value = pickSeed.value = "0";
  pickPrompt.addEventListener("change", glance);
  pickSeed.addEventListener("change", glance);

  // One picture, large.
  const box = one("#box");
  const state = { trial: 0, prompt: 0, seed: 0 };
  const address = (hash) => { try { history.replaceState(null, "", hash); } catch { /* not allowed in a sandbox */ } };
  const show = () => {
    const column = columns[state.trial];
    const thumb = thumbs.get(`${state.trial}.${state.prompt}.${state.seed}`);
    const image = one("#box-img");
    const label = (prompt) => { one("#box-prompt").textContent = prompt; };
    image.hidden = !thumb;
    one("#box-gap").hidden = Boolean(thumb);
    if (thumb) {
      const small = one("img", thumb);
      image.src = small.src;
      image.alt = small.alt;
      label(small.alt.slice(small.alt.indexOf(": ", column.dataset.title.length) + 2));
    } else {
      one("#box-gap").textContent = column.dataset.missing;
      label(prompts[state.prompt].textContent);
    }
    const seedNames = one(".seedline").textContent.split(": ")[1].split(", ");
    one("#box-title").textContent = column.dataset.title;
    one("#box-count").textContent = `${state.trial + 1} of ${columns.length}`;
    one("#box-seed").textContent = `seed ${seedNames[state.seed]}`;
    all("[data-trial]", box).forEach((chip, k) => chip.setAttribute("aria-pressed", String(k === state.trial)));
    address(`#open=${state.trial}.${state.prompt}.${state.seed}`);
  };
  const open = (at) => {
    const [trial, prompt, seed] = at.split(".").map(Number);
    if (!columns[trial] || !prompts[prompt] || !(seed >= 0 && seed < seeds)) return;
    Object.assign(state, { trial, prompt, seed });
    if (!box.open) box.showModal();
    show();
  };
  const method = (by) => { state.trial = wrap(state.trial + by, columns.length); show(); };
  const place = (by) => {
    const next = wrap(state.prompt * seeds + state.seed + by, prompts.length * seeds);
    state.prompt = Math.floor(next / seeds);
    state.seed = next % seeds;
    show();
  };

  document.addEventListener("click", (event) => {
    const thumb = event.target.closest(".thumb");
    const point = event.target.closest(".point");
    if (thumb) open(thumb.dataset.at);
    if (point) open(`${point.dataset.trial}.${pickPrompt.value}.${pickSeed.value}`);
  });
  one("#box-prev").addEventListener("click", () => method(-1));
  one("#box-next").addEventListener("click", () => method(1));
  one("#box-up").addEventListener("click", () => place(-1));
  one("#box-down").addEventListener("click", () => place(1));
  one("#box-close").addEventListener("click", () => box.close());
  all("[data-trial]", box).forEach((chip, k) => chip.addEventListener("click", () => method(k - state.trial)));
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  box.addEventListener("close", () => address("#grid"));
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ArrowLeft: () => method(-1), ArrowRight: () => method(1), ArrowUp: () => place(-1), ArrowDown: () => place(1) };
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : -1;
    if (act[event.key]) act[event.key]();
    else if (digit >= 0 && digit < columns.length) method(digit - state.trial);
    else return;
    event.preventDefault();
  });

  // A finger's swipe along the picture.
  const stage = one(".stage", box);
  let start = null;
  stage.addEventListener("pointerdown", (event) => { start = [event.clientX, event.clientY]; });
  stage.addEventListener("pointerup", (event) => {
    const [across, down] = start ? [event.clientX - start[0], event.clientY - start[1]] : [0, 0];
    start = null;
    if (Math.abs(across) > 40 && Math.abs(across) > 1.5 * Math.abs(down)) method(across < 0 ? 1 : -1);
  });

  for (const image of all(".refs img").slice(0, 8)) {
    const copy = new Image();
    copy.src = image.src;
    copy.alt = image.alt;
    one("#box-refs").append(copy);
  }
  const follow = () => { if (location.hash.startsWith("#open=")) open(location.hash.slice(6)); };
  addEventListener("hashchange", follow);
  follow();
})();
