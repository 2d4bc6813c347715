// Node's half of benchmarks/peer_tools.py: measures piscina, one line of JSON per request.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const [, , folder, slots] = process.argv;
const { Piscina } = createRequire(import.meta.url)(folder);
const { version } = createRequire(import.meta.url)(`${folder}/package.json`);
const pool = new Piscina({
  filename: fileURLToPath(new URL("piscina_jobs.mjs", import.meta.url)),
  minThreads: Number(slots),
  maxThreads: Number(slots),
  workerData: { folder },
});

const CASES = {
  // `flight` callers, each one job after the other.
  async nothing({ times, flight = 1 }) {
    const caller = async () => {
      for (let n = 0; n < times / flight; n++) await pool.run(1, { name: "nothing" });
    };
    await Promise.all(Array.from({ length: flight }, caller));
  },
  // The array is moved to the thread, and its sum array moved back: no copy either way.
  async plusOne({ times, numbers }) {
    let array = new Float64Array(numbers).fill(1);
    for (let n = 0; n < times; n++) {
      array = await pool.run(array, { name: "plusOne", transferList: [array.buffer] });
    }
  },
};

for (let n = 0; n < 10 * slots; n++) await pool.run(1, { name: "nothing" });
console.log(JSON.stringify({ node: process.version, piscina: version }));
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const started = process.hrtime.bigint();
  await CASES[request.case](request);
  const seconds = Number(process.hrtime.bigint() - started) / 1e9 / request.times;
  console.log(JSON.stringify({ seconds }));
}
