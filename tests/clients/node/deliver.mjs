// Segment's own webhook destinations, run as Segment runs them: a mapping that is triggered.
// node deliver.mjs FOLDER, where FOLDER has the node_modules. A line of JSON in: which
// destination, its settings, what its mapping has beside the defaults, and an event or, for a
// batch, a list of them. A line out: the status of the answer.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.argv[2]}/`);
const { defaultValues, Destination } = require("@segment/actions-core");

async function deliver({ destination: name, settings, mapping, events }) {
  const definition = require(`@segment/action-destinations/dist/destinations/${name}`).default;
  const destination = new Destination(definition);
  const subscription = {
    partnerAction: "send",
    subscribe: 'type != ""',
    mapping: { ...defaultValues(definition.actions.send.fields), ...mapping },
  };
  const given = { ...settings, subscriptions: [subscription] };
  await (Array.isArray(events) ? destination.onBatch : destination.onEvent).call(destination, events, given);
  return 200; // anything but 2xx is thrown
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await deliver(JSON.parse(line));
  } catch (error) {
    answer = error.response?.status ?? error.message;
  }
  console.log(JSON.stringify(answer));
}
