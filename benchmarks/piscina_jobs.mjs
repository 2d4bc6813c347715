// The jobs of benchmarks/piscina_peer.mjs; every pool thread imports this file.
import { createRequire } from "node:module";
import { workerData } from "node:worker_threads";

// piscina passes [its own, ours].
const { folder } = [workerData].flat().find((each) => each?.folder);
const { move } = createRequire(import.meta.url)(folder);

export const nothing = (value) => value;

export function plusOne(array) {
  const sum = new Float64Array(array.length);
  for (let n = 0; n < array.length; n++) sum[n] = array[n] + 1;
  return move(sum);
}
