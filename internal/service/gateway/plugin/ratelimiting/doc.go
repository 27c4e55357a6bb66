// Package ratelimiting is Kong's rate-limiting plugin: so many requests per second,
// minute, hour, day, month and year, for each consumer, credential, address, service,
// value of a header, or for one path.
//
// A request is counted in all windows or in none: when one is full it is refused and
// counts nowhere. Where the counts are is package quota's matter.
package ratelimiting
