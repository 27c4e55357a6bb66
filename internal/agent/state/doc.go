// Package state is the agent's data directory.
//
//	lock              held while the agent runs
//	identity.json     the agent's id and class
//	key               of the repository, 32 random bytes in hex
//	flow.json         the flow that was applied last, with its id
//	properties.json   settings that the server changed
//	resources.json    what SYNC brought
//	acks/             acknowledgements that no server has taken yet
//	assets/           files that the server sent
//	tls/              key and certificate of an agent that was enrolled
//	repository/       what waits in queues
//	logs/             the agent's log
//
// Everything is its owner's alone, 0600 in directories of 0700. The repository is encrypted,
// but its key lies beside it, and the other files are plain: an agent has no other place for a
// secret. Who must keep the directory from people who can take the disk encrypts the disk.
//
// A file is replaced by one rename of a synced copy: after a crash it is the old or the new one.
package state
