// A concept: what it is called, its pictures as they will be trained, captions, and what to mend.
import { Button, ask, at, attempt, bring, data, html, mount, plural, say, useEffect, useRef, useState } from "./studio.js";

const Caption = ({ it, save }) => {
  const [text, setText] = useState(it.caption);
  useEffect(() => setText(it.caption), [it.caption]);
  return html`<label><span class="hush">Caption of ${it.file}</span><textarea value=${text} maxlength="1000" placeholder="No caption of its own"
    onInput=${(e) => setText(e.target.value)} onBlur=${() => text !== it.caption && save({ captions: { [it.file]: text } })}></textarea></label>`;
};

/** A change of every caption at once: words put for others, or one caption for the pictures that have none. */
const Captions = ({ pictures, save }) => {
  const [find, setFind] = useState("");
  const [instead, setInstead] = useState("");
  const [rest, setRest] = useState("");
  const hit = find ? pictures.filter((it) => it.caption.includes(find)) : [];
  const bare = pictures.filter((it) => !it.caption);
  const each = (list, text) => save({ captions: Object.fromEntries(list.map((it) => [it.file, text(it)])) });
  return html`<div class="steer" role="group" aria-label="All captions at once">
    <label class="field"><span>Find in all captions</span><input type="text" value=${find} maxlength="200" onInput=${(e) => setFind(e.target.value)} /></label>
    <label class="field"><span>Put instead</span><input type="text" value=${instead} maxlength="200" onInput=${(e) => setInstead(e.target.value)} /></label>
    <${Button} disabled=${!hit.length} onClick=${() => each(hit, (it) => it.caption.replaceAll(find, instead))}>Change ${plural(hit.length, "caption")}<//>
    ${bare.length > 0 && html`<label class="field" style=${{ gridColumn: "span 2" }}><span>A caption for the ${plural(bare.length, "picture")} without one</span><input type="text" value=${rest} maxlength="1000" onInput=${(e) => setRest(e.target.value)} /></label>
    <${Button} disabled=${!rest.trim()} onClick=${() => each(bare, () => rest)}>Give it to ${plural(bare.length, "picture")}<//>`}</div>`;
};

const Picture = ({ it, change, view, words }) => html`<li>
  <div class="shown"><a href=${it.large} target="_blank" rel="noopener"><img src=${it.src} alt=${it.file} loading="lazy" />${view === "subject" && it.mask && html`<img class="mask" src=${it.mask} alt="where the subject is" />`}</a>
    ${view === "subject" ? !it.mask && html`<span class="cutmark">no mask</span>` : it.cut > 0.02 && html`<span class="cutmark">${view === "whole" ? "the sides will be cut off" : `${Math.round(100 * it.cut)} % cut off`}</span>`}
    <${Button} class="take" aria-label=${`Take out ${it.file}`} onClick=${() => change({ remove: [it.file] })}>Take out<//></div>
  <div class="words">${words && html`<${Caption} it=${it} save=${change} />`}
    <p class="trained">${it.trained ? html`trained as <b>“${it.trained}”</b>` : "say above what the pictures show"}</p>
    <p class="trained">${it.width} × ${it.height}${it.repeats > 1 ? `, ${it.repeats} times` : ""}</p></div></li>`;

const Cautions = ({ seen, change, refused }) => {
  const list = [...seen.cautions];
  if (!list.length && !refused.length && !seen.remark) return null;
  return html`<div class="notes-list" role="region" aria-label="What to look at">
    ${refused.length > 0 && html`<div class="note"><b>${plural(refused.length, "file")} not taken.</b> ${refused.slice(0, 5).map(([name, why]) => html`<div>${name}: ${why}</div>`)}</div>`}
    ${list.map((it) => html`<div class="note">${it.text}${it.mend.length > 0 && html`<div class="actions"><${Button} class="quiet" onClick=${() => change({ remove: it.mend })}>${it.button}<//></div>`}</div>`)}
    ${seen.remark && html`<div class="note">${seen.remark}</div>`}</div>`;
};

const Concept = ({ first }) => {
  const [seen, setSeen] = useState(first);
  const [noun, setNoun] = useState(first.noun);
  const [token, setToken] = useState(first.token);
  const [view, setView] = useState("trained");
  const [words, setWords] = useState(first.pictures.some((it) => it.caption));
  const [part, setPart] = useState(null);
  const [refused, setRefused] = useState(() => JSON.parse(sessionStorage.getItem(`refused:${first.name}`) ?? "[]"));
  const input = useRef();
  useEffect(() => sessionStorage.removeItem(`refused:${first.name}`), []);
  const change = (asked) => attempt(async () => {
    setSeen(await ask(`/api/concepts/${at(seen.name)}/change`, asked));
    if (asked.remove) say(`${plural(asked.remove.length, "picture")} moved to the trash folder.`);
  });
  const add = async (list) => {
    setPart(0);
    const told = await bring(seen.name, [...list], setPart);
    setPart(null);
    setRefused(told.refused);
    setSeen(await ask(`/api/concepts/${at(seen.name)}`));
  };
  const leave = async (place) => {
    if (noun !== seen.noun) await ask(`/api/concepts/${at(seen.name)}/change`, { noun });
    location.assign(`${place}?concept=${at(seen.name)}`);
  };
  const discard = async () => {
    if (!confirm("Move this concept and its pictures to the trash folder?")) return;
    await ask(`/api/concepts/${at(seen.name)}/discard`, { yes: true });
    location.assign("/");
  };
  const count = seen.pictures.length;
  const views = [["trained", "As trained"], ["whole", "Whole"], ...(seen.pictures.some((it) => it.mask) ? [["subject", "Subject"]] : [])];
  return html`<div>
    <h1>${seen.noun ? html`The <em>${seen.noun}</em>` : "What do these show?"}</h1>
    <p class="lead">${seen.error || `${plural(count, "picture")} as the model will see ${count === 1 ? "it" : "them"}.`}</p>
    <div class="steer">
      <label class="field"><span>It is a …</span><input type="text" id="noun" value=${noun} maxlength="60" placeholder="dog, mug, woman, oil painting"
        onInput=${(e) => setNoun(e.target.value)} onChange=${(e) => change({ noun: e.target.value })} /></label>
      <label class="field"><span>The word that will call it</span><input type="text" value=${token} maxlength="60" placeholder="${seen.example_token}, a rare word of the model"
        onInput=${(e) => setToken(e.target.value)} onChange=${(e) => change({ token: e.target.value })} /></label>
      <div class="actions"><${Button} class="main wide" disabled=${!noun.trim() || !count} onClick=${() => leave("/teach")}>Teach it<//><${Button} class="wide" disabled=${!noun.trim() || count < 4} onClick=${() => leave("/compare")}>Compare methods<//></div>
    </div>
    <${Cautions} seen=${seen} change=${change} refused=${refused} />
    <section aria-labelledby="sheet-h"><div class="line"><h2 id="sheet-h">Pictures</h2>
      <div class="actions"><div class="choices" role="group" aria-label="How pictures are shown">${views.map(([key, title]) => html`<button type="button" aria-pressed=${view === key} onClick=${() => setView(key)}>${title}</button>`)}</div>
      <label class="ticks"><span><input type="checkbox" checked=${words} onChange=${(e) => setWords(e.target.checked)} /> edit captions</span></label></div></div>
      ${words && html`<${Captions} pictures=${seen.pictures} save=${change} />`}
      <ul class="sheet ${view === "whole" ? "whole" : ""}">${seen.pictures.map((it) => html`<${Picture} key=${it.file} it=${it} change=${change} view=${view} words=${words} />`)}
        <li><label class="zone slim" style=${{ height: "100%" }} onDragOver=${(e) => e.preventDefault()} onDrop=${(e) => { e.preventDefault(); attempt(() => add(e.dataTransfer.files)); }}>
          <input ref=${input} type="file" multiple accept="image/*,.zip,.txt" onChange=${(e) => attempt(() => add(e.target.files))} />
          ${part === null ? html`<b>Add more</b><span class="soft">pictures, captions, a zip</span>` : html`<b role="status">Taking them in …</b><span class="upload-bar" style=${{ width: "100%" }}><i style=${{ width: `${100 * part}%` }}></i></span>`}</label></li></ul></section>
    ${seen.notes.length > 0 && html`<section class="tight"><h2>How the folder was understood</h2><ul class="points">${seen.notes.map((text) => html`<li>${text}</li>`)}</ul></section>`}
    <p style=${{ marginTop: "2.4rem" }}><${Button} class="plain" onClick=${discard}>Throw this concept away<//></p>
  </div>`;
};

mount(html`<${Concept} first=${data()} />`, "#concept");
