// Jobs of the worker threads. The same algorithm as workloads/kernels/primes.py, step by step.
export function primes(n) {
  const composite = new Uint8Array(n + 1)
  let count = 0
  let largest = 0
  for (let candidate = 2; candidate <= n; candidate++) {
    if (composite[candidate]) continue
    count++
    largest = candidate
    for (let multiple = candidate * candidate; multiple <= n; multiple += candidate) {
      composite[multiple] = 1
    }
  }
  return { count, largest }
}
