package node

// ListenStreams opens the listeners of a gate.stream_listen, and closes them.
func ListenStreams(value string) error {
	c := Defaults()
	c.Gate.StreamListen = value
	var f flows
	defer f.close()
	return f.listen(c)
}
