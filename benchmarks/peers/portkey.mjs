// Runs Portkey's server (first argument) with one repair. Its HTTP library's own Response keeps the headers of the answer that it
// was made from, which are read-only when that came from fetch: Portkey then fails every stream. Streams get a copy of them.
const Native = globalThis.Response;
await import(process.argv[2]);
globalThis.Response = class extends globalThis.Response {
  constructor(body, init) {
    const fetched = init instanceof Native && typeof body?.getReader === "function";
    super(body, fetched ? { status: init.status, headers: new Headers(init.headers) } : init);
  }
};
