// Package httplog is the plugin http-log: it posts the record of each request to a server,
// by itself or, with queue.max_batch_size above one, many as a JSON array. Only 2xx counts
// as taken; everything else is tried again as the queue says.
package httplog
