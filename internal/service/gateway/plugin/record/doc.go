// Package record turns an exchange that has ended into the JSON object that Kong's log
// plugins write.
//
// Words: the record is that object. A custom field is a member that custom_fields_by_lua
// adds, replaces or, by giving nothing, removes.
//
// Invariants: the values of Authorization and Proxy-Authorization never get into a
// record. A record is one line of valid JSON, whatever bytes a peer sent. A record
// without custom fields is appended without reflection and, where the buffer is large
// enough, without allocation.
//
// The package does not send records anywhere.
package record
