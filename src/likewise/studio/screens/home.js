// Where pictures are dropped, and how far what is at work has come.
import { Button, Chip, ask, at, bring, html, mount, one, plural, render, say, useEffect, useRef, useState } from "./studio.js";

const Drop = () => {
  const [over, setOver] = useState(false);
  const [part, setPart] = useState(null);
  const [noun, setNoun] = useState("");
  const [examples, setExamples] = useState([]);
  const input = useRef();
  useEffect(() => { ask("/api/examples").then(setExamples, () => {}); }, []);
  const start = async (list) => {
    const files = [...list];
    if (!files.length) return;
    setPart(0);
    try {
      const { name } = await ask("/api/concepts", { noun });
      await bring(name, files, setPart);
      location.assign(`/concepts/${at(name)}`);
    } catch (error) {
      setPart(null);
      say(error);
    }
  };
  const drop = (event) => { event.preventDefault(); setOver(false); start(event.dataTransfer.files); };
  const example = async (name) => location.assign(`/concepts/${at((await ask("/api/concepts", { example: name })).name)}`);
  return html`<div class="drop">
    <label class="field"><span>What do the pictures show?</span>
      <input type="text" value=${noun} maxlength="60" placeholder="dog, mug, woman, oil painting" onInput=${(e) => setNoun(e.target.value)} /></label>
    <label class="zone ${over ? "over" : ""}" onDragOver=${(e) => { e.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${drop}>
      <input ref=${input} type="file" multiple accept="image/*,.zip,.txt" disabled=${part !== null} onChange=${(e) => start(e.target.files)} />
      ${part === null
        ? html`<b>Drop pictures or a zip here</b><span class="soft">or choose them; 4 to 20 are best. They stay on this machine.</span>`
        : html`<b role="status">Taking them in …</b><span class="upload-bar" style=${{ width: "100%" }}><i style=${{ width: `${100 * part}%` }}></i></span>`}
    </label>
    ${examples.length > 0 && html`<div class="actions"><span class="soft">No pictures at hand?</span>${examples.map((it) => html`<${Button} class="quiet" onClick=${() => example(it.name)}>${it.title}<//>`)}</div>`}
  </div>`;
};

const Rows = ({ list }) => list.map((it) => html`<a class="row" href="/${it.kind}/${at(it.name)}">
  ${it.picture ? html`<img src=${it.picture} alt="" />` : html`<span></span>`}
  <span><b>${it.title}</b> <span class="soft">${it.below}</span></span><${Chip} status=${it.status} />
  <span class="soft">${it.words}</span>
  ${it.done != null && html`<span class="meter" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(100 * it.done)} aria-label=${`${it.title}, how far`}><i style=${{ width: `${100 * it.done}%` }}></i></span>`}
</a>`);

if (one("#drop")) {
  mount(html`<${Drop} />`, "#drop");
  let before = null;
  const look = async () => {
    if (document.hidden) return;
    let list;
    try { list = await ask("/api/now"); } catch { return; }
    const names = list.map((it) => it.name).join();
    if (before !== null && before !== names && before.split(",").some((name) => name && !names.includes(name))) {
      const ended = before.split(",").length - (names ? names.split(",").length : 0);
      if (ended > 0) say(`${plural(ended, "piece")} of work ended.`);
    }
    before = names;
    one("#active").hidden = !list.length;
    const place = one("#now");
    if (!place.dataset.taken) { place.replaceChildren(); place.dataset.taken = "1"; }
    render(html`<${Rows} list=${list} />`, place);
  };
  look();
  setInterval(look, 2500);
}
