// Package responseratelimiting is Kong's response-ratelimiting plugin: limits on what an
// upstream says, in a header of its answer, that a request has cost: "X-Kong-Limit:
// videos=2, images=1" counts two videos and one image.
//
// A request is let through while there is something left; what it costs is known only
// afterwards, so that the last one may cost more than was left. Where the answer itself
// breaks a limit it is replaced by 429. The upstream is told what is left of each limit.
package responseratelimiting
