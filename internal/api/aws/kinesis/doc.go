// Package kinesis is the Kinesis Data Streams view of the streams.
package kinesis
