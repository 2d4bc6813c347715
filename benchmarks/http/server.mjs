// The article's program: Node http in cluster, with the routes of app.py.
import cluster from 'node:cluster';
import http from 'node:http';

const port = Number(process.argv[2]);
if (cluster.isPrimary) {
  cluster.fork();
} else {
  const hello = `Hello from worker ${process.pid}`;
  const items = Array.from({ length: 21 }, (_, n) => ({ id: n, name: `item ${n}`, price: n * 1.25 }));
  const megabyte = Buffer.alloc(2 ** 20, 'x');
  const gather = (req, done) => {
    const pieces = [];
    req.on('data', (piece) => pieces.push(piece));
    req.on('end', () => done(Buffer.concat(pieces)));
  };
  const answer = (res, type, body) => {
    res.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
    res.end(body);
  };
  const json = 'application/json';
  http.createServer((req, res) => {
    switch (`${req.method} ${req.url}`) {
      case 'GET /hello': return answer(res, 'text/plain; charset=utf-8', hello);
      case 'GET /json': return answer(res, json, JSON.stringify({ items }));
      case 'POST /json': return gather(req, (body) =>
        answer(res, json, JSON.stringify({ items: JSON.parse(body).items.length })));
      case 'GET /megabyte': return answer(res, 'application/octet-stream', megabyte);
      case 'POST /megabyte': {
        let size = 0;
        req.on('data', (piece) => { size += piece.length; });
        return req.on('end', () => answer(res, 'text/plain', String(size)));
      }
      default: res.writeHead(404).end();
    }
  }).listen(port, '127.0.0.1');
}
