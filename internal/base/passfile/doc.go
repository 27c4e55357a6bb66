// Package passfile is a file that a passphrase seals, written and read from its beginning
// to its end.
//
// # Words
//
// The head is one line of JSON in clear text: what the file is, its format, and what its
// writer says of it. Frames follow, each a length and at most 64 KiB sealed with AES-256-GCM.
//
// # Invariants
//
//   - The key is derived from the passphrase by Argon2id with a salt of the file's own, so
//     that a frame's number can be its nonce. Frames cannot be changed, left out, moved or
//     taken from another file.
//   - Every frame is bound to the head, and says whether it is the last: a file that was cut
//     off is found, and so is one that something was added to.
//   - A reader gets nothing of a frame that was not authenticated. What it got before may
//     still be the beginning of a file that is damaged further on: who must do all or
//     nothing reads the file twice.
//
// # What it does not do
//
// It does not compress, and knows nothing of what is inside.
package passfile
