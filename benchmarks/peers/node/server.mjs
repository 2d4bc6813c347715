// The article's stack: `node server.mjs WORKERS THREADS`, the same endpoints as workloads/app.py.
// WORKERS processes share a port by Node's cluster module (its default: round robin); each has a
// piscina pool of THREADS worker threads for jobs. Prints where it listens when all are ready.
import cluster from 'node:cluster'
import http from 'node:http'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'

const [workers, threads] = process.argv.slice(2).map(Number)

if (cluster.isPrimary) {
  let ready = 0
  cluster.on('listening', (_, { port }) => {
    if (++ready === workers) process.stderr.write(`listening on http://127.0.0.1:${port}\n`)
  })
  for (let slot = 0; slot < workers; slot++) cluster.fork({ SLOT: slot })
  process.on('SIGTERM', () => process.exit(0))
} else {
  const pool = new Piscina({
    filename: fileURLToPath(new URL('./jobs.mjs', import.meta.url)),
    minThreads: threads,
    maxThreads: threads,
  })
  const slot = process.env.SLOT

  const answer = (response, status, type, body) => {
    response.writeHead(status, {
      'Content-Type': type,
      'Content-Length': Buffer.byteLength(body),
      'X-Worker': slot,
    })
    response.end(body)
  }
  const json = (response, fields) =>
    answer(response, 200, 'application/json', JSON.stringify(fields))

  const server = http.createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost')
    try {
      if (pathname === '/hello') {
        answer(response, 200, 'text/plain; charset=utf-8', `Hello from worker ${process.pid}\n`)
      } else if (pathname === '/io/wait') {
        const ms = Number(searchParams.get('ms') ?? 20)
        setTimeout(() => json(response, { ms }), ms)
      } else if (pathname === '/cpu/primes') {
        const n = Number(searchParams.get('n') ?? 200000)
        json(response, { kernel: 'primes', n, result: await pool.run(n, { name: 'primes' }) })
      } else {
        answer(response, 404, 'text/plain', 'not found\n')
      }
    } catch (error) {
      answer(response, 500, 'text/plain', `${error}\n`)
    }
  })
  server.keepAliveTimeout = 75_000
  server.listen(0, '127.0.0.1')
}
