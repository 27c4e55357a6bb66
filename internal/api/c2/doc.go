// Package c2 is the front of MiNiFi's C2 protocol: heartbeats, acknowledgements, and what
// agents fetch. It speaks with agents of Java and of C++, which differ in small things, and
// translates both to package edge.
//
// The protocol has no fixed paths; agents are configured with them. Those of EFM are served,
// {context}/api/c2-protocol/heartbeat and so on, and those of Apache's C2 server,
// /c2/config/heartbeat. URLs that agents are sent come twice, absolute under the address that
// the agent itself has used, and relative to {context}/api, as agents of Java refuse either
// one or the other, by their configuration.
//
// Unknown members are ignored, as the protocol wants. Bodies may be compressed with gzip; they
// are bounded before and after, each and all together.
package c2
