// Segment's own mapping kit over records that are parsed already: records/s of each round.
// node mapping_kit.mjs FOLDER, where FOLDER has the node_modules. At standard input the mapping
// and the records; then a line for each round: whether to validate, and how many seconds.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.argv[2]}/`);
const { Destination, transform } = require("@segment/actions-core");
const segment = require("@segment/action-destinations/dist/destinations/segment").default;

const { sendIdentify } = new Destination(segment).actions;
const settings = { source_write_key: "key" };

async function round(mapping, records, validate, seconds) {
  const start = performance.now();
  let made = 0;
  do {
    for (const data of records) {
      if (validate) {
        // What Segment runs for each event: the kit, its validator, the action itself.
        await sendIdentify.execute({ mapping, data, settings });
      } else {
        transform(mapping, data);
      }
    }
    made += records.length;
  } while (performance.now() - start < seconds * 1000);
  return (made / (performance.now() - start)) * 1000;
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { mapping, records } = JSON.parse((await lines.next()).value);
for await (const line of lines) {
  const { validate, seconds } = JSON.parse(line);
  console.log(await round(mapping, records, validate, seconds));
}
