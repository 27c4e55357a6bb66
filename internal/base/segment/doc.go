// Package segment keeps bytes in append-only files that are encrypted, checksummed and
// made durable in groups. Streams keep their logs in it and objects their data.
//
// # Words
//
// A frame is the unit of writing and reading: a header, and a payload sealed with
// AES-256-GCM. A segment is one file of frames with a small file header. A log is a
// directory of segments of which the last one is written to.
//
// # The file
//
//	file   = "SLUICSEG" version(4) length(4) meta crc32c(4) frame…
//	frame  = length(4) crc32c(4) seq(8) time(8) count(4) flags(4) sealed payload
//
// All integers are big-endian. length is that of the sealed payload, tag included; the
// checksum covers everything of the frame but itself, so that damage is found without the
// key. The GCM nonce is the frame's seq, and its additional data are the caller's context and
// the frame header: a frame cannot be moved to another place, resource or sequence. meta
// belongs to the owner; it usually holds the wrapped data key.
//
// # Invariants
//
//   - A key seals at most one frame with a given seq. That is why a log never appends to a
//     segment it did not create: after a restart it begins a new one, with a new key.
//   - Append returns nil only after the frames are on the disk (fdatasync). Appends that wait
//     together share one write and one sync.
//   - A write that failed leaves no trace: the segment is cut back, or abandoned where even
//     that fails, and later appends may succeed, so a full disk needs no restart.
//   - What fails its checksum or its authentication is reported as Corrupt with file and
//     position, and is never returned as data.
package segment
