// Package kms keeps the owner's keys and is the only place where they are used.
//
// # Words
//
// A key is 256 bits that encrypt small data and wrap data keys; it has an id, an ARN, a
// state and perhaps aliases. A data key encrypts one thing (an object, a segment of a log);
// it is kept beside that thing, wrapped. The platform key seals what no owner's key was
// chosen for.
//
// # Invariants
//
//   - Key material is stored sealed under the root key and never leaves the package.
//   - A disabled key neither wraps nor unwraps from the moment DisableKey returns on this
//     node, and within a second on others. As the other services unwrap for every
//     operation, what the key sealed is locked in the same moment.
//   - A ciphertext is bound to its key, and to the encryption context it was made with.
//
// # What it does not do
//
// Key policies, grants, rotation and deletion come with the identity and key services' own
// work; until then a key is governed by the callers' identity policies alone.
package kms
