// Draws avatars: reads [{"style": ..., "options": {...}}, ...] from standard input and writes the SVG texts as a JSON list;
// for {"style": ..., "schema": true} the style's options as JSON instead. Argument: the node_modules folder that holds the
// @dicebear packages.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const home = pathToFileURL(process.argv[2] + '/');
const load = (name) => import(new URL(`@dicebear/${name}/lib/index.js`, home).href);
const { createAvatar } = await load('core');
const drawn = [];
for (const { style, options, schema } of JSON.parse(readFileSync(0, 'utf8'))) {
  const found = await load(style);
  drawn.push(schema ? JSON.stringify(found.schema) : createAvatar(found, { seed: 'suite', ...options }).toString());
}
process.stdout.write(JSON.stringify(drawn));
