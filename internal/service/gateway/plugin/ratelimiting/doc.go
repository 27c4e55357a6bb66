// Package ratelimiting is Kong's rate-limiting plugin: so many requests per second,
// minute, hour, day, month and year, for each consumer, credential, address, service,
// value of a header, or for one path.
//
// Words: a window is one calendar-aligned period of UTC; a subject is whom the limit is
// for. A request is counted in all windows or in none: when one is full it is refused and
// counts nowhere. Counting is exact however many requests come at once.
//
// Counters are kept in memory for a plugin entity, and survive a change of its
// configuration. At most MaxSubjects are kept; beyond that the subject that was silent
// longest is forgotten, and starts anew. Policies cluster and redis are refused: they
// need a counter store that nodes share.
package ratelimiting
