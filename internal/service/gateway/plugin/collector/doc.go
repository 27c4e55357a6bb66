// Package collector is the gateway's entrance for events: a plugin that takes events from
// HTTP requests, checks them, completes them, and appends them to a stream. It ends the
// exchange; nothing is forwarded.
//
// Words: an event is one flat JSON object, or the parameters of one GET. A programme is
// what an event belongs to (an advertiser's campaign, say), a document among the
// references; it counts while enabled and between valid_from and valid_to. Enrichment is
// what the collector adds: event_id, received_at, client_ip, user_agent, request_id.
//
// Requests: GET with the fields as parameters; POST of one JSON object, of a JSON array,
// or of JSON lines (application/x-ndjson). The answer is JSON with the ids of the events,
// or for a GET whose path ends in .gif, or that accepts images, a transparent picture.
//
//	202 (or 200, as configured)  every event of the request is durable
//	400  an event is not well formed: a field is missing, too long, or of the wrong type
//	413  the body or the number of events is above the limit
//	422  the programme does not exist or does not count now
//	500  the stream, or the table of "table", does not exist
//	503  the stream cannot take the events now; Retry-After says when to try again
//
// 400 and 422 name the field, and the event by its index. An event that a reader of the
// stream could not take is refused, though it may be JSON: half of a surrogate pair, NUL in
// text, more than 64 levels, a line end where columns are delimited. A record of the JSON
// format is one line. In the delimited format a backslash stands before the delimiter and
// before backslashes (SQL: ESCAPED BY '\\'); a field that was not given is empty.
// With "table" each member must fit the column of its name, which a reader of the table
// would pass over otherwise.
//
// Invariants: of a request all
// events are appended or, with any other answer than success or 503, none; success is
// answered only when they are durable. After a 503 they may have been appended: an event
// that is sent again should bear the event_id of the first time. How many requests wait
// for the stream is bounded; beyond that the answer is 503 at once.
//
// The collector writes as the platform, on behalf of who configured the route.
package collector
