// The library: what each file is and where it loads; convert, install, merge, bring, throw away.
import { Button, ask, at, data, html, mount, plural, say, send, useState } from "./studio.js";

const given = data();

const Convert = ({ file }) => {
  const fitting = given.layouts.filter((it) => it.kinds.includes(file.kind)).sort((a, b) => b.readers.length - a.readers.length);
  const [to, setTo] = useState(fitting[0]?.name ?? "");
  const [place, setPlace] = useState("");
  const chosen = fitting.find((it) => it.name === to);
  const convert = async () => {
    const told = await ask("/api/library/convert", { id: file.id, to });
    say(`Written as library/${told.name}.`);
    setTimeout(() => location.reload(), 1200);
  };
  const install = async () => say(`Installed: ${(await ask("/api/library/convert", { id: file.id, install: place })).name}.`);
  return html`<div class="grid-of">
    <div class="field"><span>Convert</span><select aria-label="Layout" value=${to} onChange=${(e) => setTo(e.target.value)}>${fitting.map((it) => html`<option value=${it.name}>${it.title}</option>`)}</select>
      <small>${chosen ? `For ${chosen.readers.join(", ")}.` : "No layout is known for this kind."}</small><p style=${{ marginTop: ".5rem" }}><${Button} class="quiet" disabled=${!to} onClick=${convert}>Write it to the library<//></p></div>
    <div class="field"><span>Install</span><input type="text" aria-label="Folder of the program" value=${place} placeholder="/home/me/ComfyUI" onInput=${(e) => setPlace(e.target.value)} />
      <small>The folder of ComfyUI, Forge or AUTOMATIC1111. It goes where that looks for it, in the layout that it takes.</small><p style=${{ marginTop: ".5rem" }}><${Button} class="quiet" disabled=${!place.trim()} onClick=${install}>Install<//></p></div></div>`;
};

const File = ({ file, ticked, tick, gone }) => {
  const [open, setOpen] = useState(false);
  const discard = async () => {
    if (!confirm(`Move ${file.name} to the trash folder?`)) return;
    say(`Moved to ${(await ask("/api/library/discard", { id: file.id })).where}.`);
    gone();
  };
  return html`<li class="file"><input type="checkbox" aria-label="Tick ${file.name}" checked=${ticked !== undefined} onChange=${(e) => tick(e.target.checked)} />
    <h2 class="who">${file.trigger ? html`“${`${file.trigger} ${file.noun}`.trim()}”` : file.name}<span class="soft">${[file.kind, file.size, file.said].filter(Boolean).join(" · ")}</span></h2>
    <span class="actions">${file.draws && html`<a class="button quiet" href="/draw?with=${at(file.id)}">Draw</a>`}<button type="button" class="quiet" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "Close" : "More"}<span class="hush"> about ${file.name}</span></button></span>
    ${open && html`<div class="open"><p class="soft">${file.name}${file.run && html` · <a href="/runs/${at(file.run)}">its run</a>`}${file.layout && ` · layout ${file.layout}`}${file.family && ` · for ${file.family}`}</p>
      <div><b>Loads in</b><ul class="loads" style=${{ marginTop: ".4rem" }}>${file.loads.map((it) => html`<li class=${it.how === "exact" ? "" : "some"} title=${it.how}>${it.name}${it.how !== "exact" ? ": with a difference" : ""}</li>`)}${!file.loads.length && html`<li class="some">nothing that is known here</li>`}</ul>
      ${file.loads.filter((it) => it.how !== "exact").map((it) => html`<p class="small-print">${it.name}: ${it.how}</p>`)}</div>
      ${file.note && html`<p class="small-print">${file.note}</p>`}
      <${Convert} file=${file} /><p class="actions">${file.id && html`<a class="button quiet" href="/files/${at(file.id)}" download>Download</a>`}<${Button} class="quiet" onClick=${discard}>Throw away<//></p></div>`}</li>`;
};

const Library = () => {
  const [files, setFiles] = useState(given.files);
  const [weights, setWeights] = useState({});
  const [part, setPart] = useState(null);
  const count = Object.keys(weights).length;
  const tick = (id) => (yes) => { const { [id]: _, ...rest } = weights; setWeights(yes ? { ...rest, [id]: 1 } : rest); };
  const merge = async () => {
    const told = await ask("/api/library/merge", { files: Object.entries(weights).map(([id, weight]) => ({ id, weight })) });
    say(`Added up to library/${told.name}.`);
    setTimeout(() => location.reload(), 1200);
  };
  const bring = async (list) => {
    for (const file of list) {
      setPart(0);
      try { const told = await send("/import/file", file, setPart); say(`${told.name}: ${told.kind}.`); setTimeout(() => location.reload(), 1200); } catch (error) { say(error); }
      setPart(null);
    }
  };
  return html`<div>
    <div class="actions" style=${{ marginTop: "1.2rem" }}>
      <label class="button zone-button">Bring a .safetensors file<input type="file" accept=".safetensors" class="hush" onChange=${(e) => bring([...e.target.files])} /></label>
      ${part !== null && html`<span class="soft" role="status">${Math.round(100 * part)} %</span>`}
      ${count > 0 && html`<span class="soft">${plural(count, "file")} ticked</span>`}
      ${count > 1 && html`<${Button} onClick=${merge}>Add them up<//>`}</div>
    ${count > 1 && html`<div class="panel" style=${{ marginTop: "1rem" }}><b>Weights</b><div class="with" style=${{ marginTop: ".6rem" }}>${Object.keys(weights).map((id) => html`<div><span>${files.find((it) => it.id === id)?.name}</span><input type="number" step="0.05" aria-label="Weight of ${id}" value=${weights[id]} onInput=${(e) => setWeights({ ...weights, [id]: Number(e.target.value) })} /></div>`)}</div></div>`}
    ${files.length ? html`<ul class="files">${files.map((file) => html`<${File} key=${file.id} file=${file} ticked=${weights[file.id]} tick=${tick(file.id)} gone=${() => setFiles(files.filter((it) => it !== file))} />`)}</ul>` : html`<p class="empty" style=${{ marginTop: "1.4rem" }}>Nothing here yet. <a href="/">Teach something</a>, or bring a file.</p>`}
  </div>`;
};

mount(html`<${Library} />`, "#library");
