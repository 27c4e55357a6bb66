// Package wasm runs the gateway's filters: WebAssembly modules that speak the Proxy-Wasm
// ABI, versions 0.2.0 and 0.2.1 (github.com/proxy-wasm/spec), as Kong runs them.
//
// Words: a filter is a module, NAME.wasm of a directory, with a configuration; NAME.meta.json
// beside it may describe the configuration by a JSON schema. A machine is a module with
// memory of its own, configured once. A stream is one exchange in the eyes of one filter;
// it stays in the machine it began in.
//
// Each filter has a few machines. A stream gets one that has no other while there are
// machines to be had; beyond that, streams share machines, whose calls go one at a time, so
// that many slow requests need no more memory than a few.
//
// Invariants:
//   - A call takes no longer than Config.Limit, a machine no more than Config.Memory.
//   - A machine that trapped or was stopped is never called again. Its requests end with
//     500; an answer whose head is with the client already ends short, never unfiltered.
//   - A filter reaches nothing but its exchange, a clock, randomness, the log, and the data
//     and metrics filters share: no files, no environment, no network.
//   - What filters may keep on the node is bounded.
//
// It does not serve calls by HTTP or gRPC, queues and timers: filters are told that they are
// not implemented, or are never called back.
package wasm
