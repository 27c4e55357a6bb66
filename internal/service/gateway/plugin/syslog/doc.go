// Package syslog holds the plugins that speak syslog: syslog itself, to the machine's own
// daemon, and loggly, to Loggly's servers over UDP.
//
// Words: a severity is one of syslog's eight; the status of the answer decides which of
// three configured ones a record has. Records less severe than log_level are not sent.
//
// Where the daemon does not answer, the records are lost and the node's log says so.
package syslog
