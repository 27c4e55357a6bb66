// Package firehose is the front of the delivery streams.
package firehose
