// Package audit keeps who changed what, and how it was before and after.
//
// Words: an Entry is one change that was made. Entries are kept on the node that made the
// change, in order of time, for Config.Keep; an older one is gone. What an entry says of a
// record leaves out its secrets: whoever appends one must have taken them out.
//
// An entry is durable before the change is answered. It is written after the change, so
// that a node that dies between the two has changed something that is not in the audit;
// it is never the other way round.
package audit
