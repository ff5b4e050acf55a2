// What Segment's own packages make of each case: a JSON line in, a JSON line out.
// node segment.mjs FOLDER, where FOLDER has the node_modules.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.argv[2]}/`);
const { Destination, transform } = require("@segment/actions-core");
const { parseFql, validate } = require("@segment/destination-subscriptions");
const segment = require("@segment/action-destinations/dist/destinations/segment").default;

const { actions } = new Destination(segment);
const settings = { source_write_key: "key" };

const answers = {
  mapping(asked, record, group) {
    return group === "the root" ? transform(asked, record) : transform({ value: asked }, record).value;
  },
  async action({ actionSlug, settings: mapping }, data) {
    const results = await actions[actionSlug].execute({ mapping, data, settings });
    return results.at(-1).data.batch[0];
  },
  trigger(asked, record) {
    let found = asked;
    if (typeof asked === "string") {
      found = parseFql(asked);
      if (found.error) throw found.error;
    } else if (asked.type !== "group") {
      found = { type: "group", operator: "and", children: [asked] };
    }
    return validate(found, record);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { kind, group, asked, record } = JSON.parse(line);
  let answer;
  try {
    const value = await answers[kind](asked, record, group);
    answer = value === undefined ? { state: "nothing" } : { state: "value", value };
  } catch (error) {
    answer = { state: "refused", reasons: [error.message.split(/\n\s+at /)[0].trim()] };
  }
  console.log(JSON.stringify(answer));
}
